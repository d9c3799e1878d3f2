"""Pages in a real browser: they open without a network or a complaint, in light and dark, and names stay text."""

import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.predictions import predict_dataset
from foveal.learner.vision import vision_learner
from foveal.reporting.report import Report
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab

OWNED = "<script>document.title='owned'</script><b id=x>bold</b>"


@pytest.fixture(scope="module")
def browser(chromium):
    """A function that opens a page in Chromium and returns what it says, or a screenshot."""

    def open_page(path, *options):
        plain = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
        command = [chromium, *plain, *options, path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    return open_page


@pytest.fixture(scope="module")
def page(scene_loaders, tmp_path_factory):
    """A report whose classes and title are markup."""
    learn = vision_learner(scene_loaders(), "resnet18", pretrained=False)
    predictor = learn.predictor()
    found = predict_dataset(predictor, learn.dls.valid.dataset)
    names = (OWNED, *found.task.names[1:])
    task = MultiLabel(Vocab(names), found.task.decision)
    renamed = type(found)(found.images, found.values, found.labels, found.targets, task)
    report = Report(OWNED, [("model", OWNED)], Interpretation(renamed), slices={OWNED: [OWNED] * len(found.labels)})
    return report.write(tmp_path_factory.mktemp("page") / "report.html")


def test_a_report_opens_and_markup_in_names_stays_text(browser, page):
    done = browser(page, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert re.search("<title>(.*)</title>", done.stdout)[1].startswith("&lt;script&gt;")
    assert "<b id=" not in done.stdout
    assert done.stdout.count("<script") == 0
    assert page.stat().st_size < 5_000_000


def test_a_report_is_drawn_in_light_and_in_dark(browser, page, tmp_path):
    corners = {}
    for number, scheme in enumerate(("dark", "light")):
        file = tmp_path / f"{scheme}.png"
        browser(
            page, "--window-size=900,1400", f"--blink-settings=preferredColorScheme={number}", f"--screenshot={file}"
        )
        pixels = np.asarray(Image.open(file).convert("L"))
        corners[scheme] = int(pixels[0, 0])
        assert pixels.std() > 10  # something is written on it
    assert corners["dark"] < 60
    assert corners["light"] > 240


def test_a_report_fits_a_phone(browser, page, tmp_path):
    file = tmp_path / "phone.png"
    browser(page, "--window-size=500,1200", f"--screenshot={file}")
    pixels = np.asarray(Image.open(file).convert("L")).astype(int)
    assert (pixels[:, -8:] > 200).mean() > 0.99  # nothing is cut off at the right
