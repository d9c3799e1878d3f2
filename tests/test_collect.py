"""What comes back: corrections are kept without traces of their sender, and read by what trains."""

import csv
import io
import json
import threading
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from foveal.audit.checks import audit
from foveal.images.decode import decode
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.serve.admission import RequestRefusedError
from foveal.serve.collect import Collector, without_traces
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from serving import serving

NAMES = ("ant", "black bee", "cat")
PRIVATE = b"Jane Doe of Springfield"


def photo(seed=0, size=(90, 60)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_traces(orientation=1):
    """A photograph that says where it was taken, and holds another one behind it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = PRIVATE.decode()
    exif.get_ifd(0x8825)[1] = "N"
    plain = encoded(photo(), exif=exif, comment=PRIVATE, quality=92)
    return plain + encoded(photo(1), exif=exif)


@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_a_photograph_keeps_its_pixels_and_nothing_else(orientation):
    image = with_traces(orientation)
    assert PRIVATE in image
    kept, suffix = without_traces(image)
    assert suffix == ".jpg"
    assert np.array_equal(decode(kept), decode(image))
    assert PRIVATE not in kept
    with Image.open(io.BytesIO(kept)) as opened:
        assert set(opened.getexif()) <= {0x0112}
        assert "comment" not in opened.info
    assert kept.count(b"\xff\xd8\xff") == 1  # the image behind it is gone


def test_other_formats_become_png():
    for kind in ("PNG", "WEBP", "BMP"):
        image = encoded(photo(), kind, **({"lossless": True} if kind == "WEBP" else {}))
        kept, suffix = without_traces(image)
        assert suffix == ".png"
        assert np.array_equal(decode(kept), decode(image))


def rows_of(folder):
    with (folder / "corrections.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_latest_word_on_an_image_counts_and_training_reads_it(tmp_path):
    keep = Collector(tmp_path, 10**8, MultiLabel(Vocab(NAMES)), "f" * 64).keep
    for at in range(8):
        keep(encoded(photo(at), "PNG"), [NAMES[at % 3], NAMES[(at + 1) % 3]], ["ant"])
    first = keep(encoded(photo(0), "PNG"), ["black bee"], [])
    keep(encoded(photo(1), "PNG"), [], ["cat"])
    rows = rows_of(tmp_path)
    assert len(rows) == 8 == len(list((tmp_path / "images").iterdir()))
    assert next(row for row in rows if row["fname"] == first)["labels"] == "black bee"
    source = read_source(tmp_path / "corrections.csv", columns=TableColumns(empty="none"))
    assert source.task == "multi-label"
    assert sorted({name for item in source.items for name in item.label}) == sorted(NAMES)
    assert sum(not item.label for item in source.items) == 1
    assert not [finding for finding in audit(source).findings if finding.rule.startswith("no such")]


def test_what_is_no_label_of_the_model_and_what_is_too_much_is_refused(tmp_path):
    several = Collector(tmp_path / "a", 60_000, MultiLabel(Vocab(NAMES)), "x")
    with pytest.raises(RequestRefusedError, match="'bee' is no class of the model"):
        several.keep(encoded(photo()), ["bee"], [])
    one = Collector(tmp_path / "b", 10**6, SingleLabel(Vocab(NAMES)), "x")
    for labels in ([], ["ant", "cat"]):
        with pytest.raises(RequestRefusedError, match="one is right"):
            one.keep(encoded(photo()), labels, [])
    assert one.keep(encoded(photo()), ["cat"], ["ant"]).startswith("images/")
    for at in range(3):
        several.keep(encoded(photo(at), "PNG"), ["ant"], [])
    with pytest.raises(RequestRefusedError, match="full"):
        several.keep(encoded(photo(3), "PNG"), ["ant"], [])
    several.keep(encoded(photo(0), "PNG"), ["cat"], [])  # one that is there takes no more room
    assert len(rows_of(tmp_path / "a")) == 3


def test_corrections_that_come_at_once_are_all_kept(tmp_path):
    collectors = [Collector(tmp_path, 10**8, MultiLabel(Vocab(NAMES)), "x") for _ in range(2)]

    def send(at):
        collectors[at % 2].keep(encoded(photo(at), "PNG"), ["ant"], [])

    threads = [threading.Thread(target=send, args=(at,)) for at in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(rows_of(tmp_path)) == 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    network = build_model(ModelSpec("test_efficientnet", 3, (32, 32), None, "linear"))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Predictor.of(network, MultiLabel(Vocab(NAMES)), Preparation.of((32, 32), "squish", IMAGENET)).save(path)
    return path


def test_a_correction_comes_over_http_where_it_is_wanted(model, tmp_path):
    image = with_traces(6)
    query = urlencode([("label", "ant"), ("label", "black bee"), ("answered", "cat")])
    with serving(model, "--collect", tmp_path / "kept", "--collect-limit", "1MB") as service:
        assert service.json("GET", "/model")[1]["collects"] is True
        status, said = service.json("POST", f"/correction?{query}", image, "image/jpeg")
        assert status == 200
        (row,) = rows_of(tmp_path / "kept")
        assert (row["fname"], row["labels"], row["answered"]) == (said["kept"], "ant;black bee", "cat")
        assert np.array_equal(decode(tmp_path / "kept" / row["fname"]), decode(image))
        assert service.json("POST", "/correction?label=dog", image, "image/jpeg")[0] == 422
        assert service.json("POST", "/correction?label=ant", b"no image", "image/jpeg")[0] == 422
        cross = {"Content-Type": "image/jpeg", "Sec-Fetch-Site": "cross-site"}
        assert service.ask("POST", f"/correction?{query}", image, cross)[0] == 403
        assert len(rows_of(tmp_path / "kept")) == 1
        assert "/correction" in json.loads(service.ask("GET", "/openapi.json")[2])["paths"]
    with serving(model) as service:
        assert service.json("GET", "/model")[1]["collects"] is False
        assert service.json("POST", f"/correction?{query}", image, "image/jpeg")[0] == 404


def test_a_model_without_labels_and_a_limit_alone_are_refused(model, foveal, tmp_path):
    ratings = Path(__file__).parent / "golden" / "ratings-1.safetensors"
    refused = foveal("serve", ratings, "--collect", tmp_path, code=2)
    assert "--collect is for tasks of multi-label, single-label; this task is rating" in refused.err
    assert "give --collect DIR" in foveal("serve", model, "--collect-limit", "1MB", code=2).err


def test_on_the_page_an_answer_is_corrected_with_consent(model, tmp_path, running_chromium):
    file = tmp_path / "a.png"
    photo(3).save(file)
    with serving(model, "--collect", tmp_path / "kept") as service:
        page = running_chromium.new_page()
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.set_input_files("#files", str(file))
        expect(page.locator("#status")).to_contain_text("1 answered")
        page.click("text=This is wrong")
        expect(page.locator(".correction")).to_contain_text("kept by whoever runs this page")
        answered = load_learner(model, device="cpu").predict(file).label
        for name in NAMES:
            box = page.locator(".choices label", has_text=name).locator("input")
            assert box.is_checked() == (name in answered)
            box.set_checked(name == "black bee")
        assert not (tmp_path / "kept").exists()
        page.click("text=Keep image and labels")
        expect(page.locator("article")).to_contain_text("Kept, thank you.")
        page.close()
    (row,) = rows_of(tmp_path / "kept")
    assert (row["labels"], row["answered"]) == ("black bee", ";".join(answered))
    assert np.array_equal(decode(Path(tmp_path / "kept" / row["fname"])), decode(file))
