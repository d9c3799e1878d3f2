"""The page that needs no service: served as plain files, without a network, it answers in Chromium as foveal does."""

import functools
import http.server
import json
import shutil
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from foveal.core.errors import InputError, MissingDependencyError
from foveal.images.prepare import IMAGENET, UNCHANGED_OF, Preparation
from foveal.inference.loading import load_image_predictor
from foveal.inference.manifest import TrainingPart
from foveal.inference.predictor import Predictor
from foveal.inference.store import read_manifest
from foveal.models.vision import ModelSpec, build_model
from foveal.serve import web
from foveal.serve.web import FILES, export_web, runtime_files
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.regression import Regression
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

OWNED = "<b id=x>owned</b>"
NAMES = (OWNED, "bee", "cat")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The archive of the runtime, as npm brings it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: apt-get install -y npm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEAL_HOME", str(tmp_path_factory.mktemp("home")))
        archive = tmp_path_factory.mktemp("npm") / web.PACKAGE
        archive.write_bytes(web._from_npm())
        return archive


def bundle(folder, task, method="crop", n_channels=3, statistics=IMAGENET):
    torch.manual_seed(0)
    n = task.n_outputs
    network = build_model(ModelSpec("test_efficientnet", n, (48, 64), task.y_range, "linear", n_channels=n_channels))
    torch.nn.init.normal_(network.linear.weight, std=0.1)
    path = folder / "model.safetensors"
    Predictor.of(network, task, Preparation.of((48, 64), method, statistics), TrainingPart(source="drawn")).save(path)
    return path


@pytest.fixture
def opened(running_chromium, runtime, tmp_path):
    """A function that exports a model, serves the folder and opens its page, which may reach nothing else."""
    servers, pages = [], []

    def open_page(path, *, folder="page"):
        written = export_web(
            load_image_predictor(path, device="cpu"), read_manifest(path), path, tmp_path / folder, runtime=runtime
        )
        handler = functools.partial(_Quiet, directory=written.folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        page = running_chromium.new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda one: page.complaints.append(one.text) if one.type == "error" else None)
        own = f"http://127.0.0.1:{server.server_port}/"
        page.route(lambda address: not address.startswith((own, "blob:", "data:")), lambda route: route.abort())
        page.goto(own)
        expect(page.locator("#title")).to_have_text(path.parent.name)
        pages.append(page)
        return page

    yield open_page
    for one in pages:
        one.close()
    for one in servers:
        one.shutdown()
        one.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def answers(page, files):
    """What the page answered for files: the first answers in full, as its CSV has them."""
    page.set_input_files("#files", [str(file) for file in files])
    expect(page.locator("#status")).to_contain_text(f"{len(files)} answered", timeout=120_000)
    with page.expect_download() as download:
        page.click("#csv")
    lines = download.value.path().read_text().splitlines()
    return [line.split(",") for line in lines]


def test_photographs_are_answered_as_foveal_answers(opened, tmp_path, photographs):
    path = bundle(tmp_path, MultiLabel(Vocab(NAMES), Decision((0.3, 0.5, 0.7))))
    predictor = load_image_predictor(path, device="cpu")
    files = sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:24]
    head, *rows = answers(page := opened(path), files)
    assert head == ["fname", "predicted", *NAMES]
    assert page.complaints == []
    assert page.locator("#x").count() == 0
    for row, file in zip(rows, files, strict=True):
        ours = predictor.predict(file)
        assert row[0] == file.name
        assert row[1] == ";".join(ours.label)
        np.testing.assert_allclose([float(cell) for cell in row[2:]], ours.values, atol=1e-3)


def test_turned_transparent_and_grey_files_are_read_alike(opened, tmp_path):
    path = bundle(tmp_path, SingleLabel(Vocab(NAMES)), "pad")
    predictor = load_image_predictor(path, device="cpu")
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).resize((300, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    files = [tmp_path / name for name in ("turned.jpg", "alpha.png", "grey.png", "small.webp")]
    image.save(files[0], exif=exif)
    alpha.save(files[1])
    image.convert("L").save(files[2])
    image.resize((31, 23)).save(files[3], lossless=True)
    _, *rows = answers(opened(path), files)
    for row, file in zip(rows, files, strict=True):
        ours = predictor.predict(file)
        assert row[1] == ours.label
        # Alpha is blended with other rounding: a grey level at most.
        np.testing.assert_allclose(
            [float(cell) for cell in row[2:]], ours.values, atol=5e-3 if "alpha" in file.name else 1e-3
        )


def test_points_are_drawn_and_numbers_are_given(opened, tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "image.png"
    Image.fromarray(rng.integers(0, 256, (90, 140, 3), dtype=np.uint8)).save(file)
    for name in ("points", "numbers", "grey"):
        (tmp_path / name).mkdir()
    path = bundle(tmp_path / "points", Points(2, skeleton=((0, 1),)), "squish")
    page = opened(path, folder="points page")
    _, row = answers(page, [file])
    label = load_image_predictor(path, device="cpu").predict(file).label
    np.testing.assert_allclose([float(cell) for cell in row[1:]], label.reshape(-1), atol=0.05)
    assert page.locator("svg line").count() > 4
    path = bundle(tmp_path / "numbers", Regression.of(("weight", "height"), [[0.0, 0.0], [10.0, 200.0]]))
    _, row = answers(opened(path, folder="numbers page"), [file])
    ours = load_image_predictor(path, device="cpu").predict(file).label
    np.testing.assert_allclose([float(cell) for cell in row[1:]], ours, rtol=1e-3, atol=1e-3)
    path = bundle(tmp_path / "grey", SingleLabel(Vocab(NAMES)), n_channels=1, statistics=UNCHANGED_OF[1])
    _, row = answers(opened(path, folder="grey page"), [file])
    ours = load_image_predictor(path, device="cpu").predict(file).values
    np.testing.assert_allclose([float(cell) for cell in row[2:]], ours, atol=1e-3)


def test_a_file_that_is_no_image_is_named_and_the_rest_is_answered(opened, tmp_path):
    page = opened(bundle(tmp_path, MultiLabel(Vocab(NAMES))))
    (tmp_path / "text.jpg").write_bytes(b"no image")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    page.set_input_files("#files", [str(tmp_path / "text.jpg"), str(tmp_path / "good.png")])
    expect(page.locator("#status")).to_contain_text("1 answered, 1 not", timeout=60_000)
    expect(page.locator("article", has_text="text.jpg")).to_contain_text("cannot read the file as an image")


def test_the_runtime_comes_from_where_it_is_said_to_be(runtime, tmp_path, monkeypatch):
    with tarfile.open(runtime) as archive:
        archive.extractall(tmp_path, filter="data")
    from_archive = runtime_files(runtime)
    assert set(from_archive) == set(FILES)
    for place in (tmp_path, tmp_path / "package", tmp_path / "package" / "dist"):
        assert runtime_files(place) == from_archive
    with pytest.raises(InputError, match=r"does not hold the files of onnxruntime-web: ort\.wasm.*npm pack"):
        runtime_files(tmp_path / "package" / "lib")
    (tmp_path / "other.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not the archive of onnxruntime-web"):
        runtime_files(tmp_path / "other.tgz")
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(MissingDependencyError, match="no npm is here to fetch it"):
        runtime_files(None)
    shutil.copy(runtime, (tmp_path / "home" / web.PACKAGE).parent.mkdir() or tmp_path / "home" / web.PACKAGE)
    assert runtime_files(None) == from_archive


def test_a_page_is_not_written_over_something_or_for_four_channels(tmp_path, runtime, foveal):
    path = bundle(tmp_path, MultiLabel(Vocab(NAMES)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    full = foveal("export", path, "--to", "web", "--out", tmp_path / "full", "--runtime", runtime, code=2)
    assert "is not an empty folder" in full.err
    said = foveal("export", path, "--to", "web", "--out", tmp_path / "page", "--runtime", runtime).out
    assert "python -m http.server -d" in said
    about = json.loads((tmp_path / "page" / "model.json").read_text())
    assert about["answer_names"] == list(NAMES)
    assert foveal("export", path, "--runtime", runtime, code=2).err.count("--runtime is for --to web")
