"""Four channels: colour and alpha, or the four bands of a TIFF, are read as they are and reach the model."""

import io
import json
import runpy
import sys

import numpy as np
import pytest
import tifffile
import timm
import torch
from matplotlib import pyplot as plt
from onnxruntime import InferenceSession
from PIL import Image, ImageCms
from starlette.testclient import TestClient

from foveal.core.errors import ImageError, InputError
from foveal.course.files import verify_image
from foveal.course.pixels import Hue, RandomErasing, Saturation
from foveal.data.block import DataBlock, ImageBlock
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.labels import parent_label
from foveal.data.splits.splitters import FuncSplitter
from foveal.evaluation.show import results_sheet
from foveal.geometry.moves import Flip
from foveal.geometry.resize import Resize
from foveal.images.any_channels import open_any
from foveal.images.augment import Normalize, aug_transforms
from foveal.images.decode import decode, open_image
from foveal.images.show import show_image
from foveal.images.tones import Contrast
from foveal.inference.explain import overlay
from foveal.inference.exports import TOLERANCE, export_model
from foveal.inference.loading import load_learner
from foveal.learner.vision import vision_learner
from foveal.metrics.one_label import accuracy
from foveal.models import zoo
from foveal.models.vision import ModelSpec, build_model, pretrained_model
from foveal.serve.http import app_of
from foveal.serve.service import ServeSettings
from foveal.sources.folders import get_image_files
from foveal.tasks.points import PointBlock
from foveal.tasks.single_label import CategoryBlock

RGBA = np.random.default_rng(0).integers(0, 256, (37, 53, 4), dtype=np.uint8)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


# -- Decoding


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "array", "PIL"])
def test_alpha_is_read_as_it_is_and_so_are_colours_that_it_hides(kind):
    options = {"WEBP": {"lossless": True, "exact": True}, "TIFF": {"compression": "tiff_lzw"}}.get(kind, {})
    source = {"array": RGBA, "PIL": Image.fromarray(RGBA)}.get(kind)
    assert np.array_equal(decode(encoded(RGBA, kind, **options) if source is None else source, 4), RGBA)


def test_other_forms_of_alpha_are_read_too():
    """Grey with alpha, a palette with transparency and a transparent colour are what optimisers make of RGBA."""
    grey = Image.fromarray(RGBA).convert("LA")
    palette = Image.fromarray(RGBA[..., :3]).quantize(16)
    palette.info["transparency"] = bytes([0, 255] * 8)
    for image in (grey, palette):
        data = encoded(image)
        assert np.array_equal(decode(data, 4), np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))
    assert len(np.unique(decode(encoded(palette), 4)[..., 3])) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"rowsperstrip": 5},
        {"tile": (16, 32)},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 5},
        {"compression": "zlib", "predictor": True, "tile": (16, 32)},
    ],
    ids=str,
)
def test_four_bands_are_read_in_every_layout(dtype, byteorder, planarconfig, layout):
    bands = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (37, 53, 4)).astype(dtype)
    stored = bands if planarconfig == "contig" else np.moveaxis(bands, 2, 0)
    expected = bands if dtype == np.uint8 else (bands * (255 / 65535) + 0.5).astype(np.uint8)
    for photometric in ("minisblack", "rgb"):
        data = tiff(stored, byteorder=byteorder, planarconfig=planarconfig, photometric=photometric, **layout)
        assert np.array_equal(decode(data, 4), expected)


def test_white_of_bands_is_that_of_deep_grey(monkeypatch):
    values = np.random.default_rng(2).integers(0, 10001, (20, 30, 4)).astype(np.uint16)
    for white in ("", "10000"):
        monkeypatch.setenv("FOVEAL_WHITE", white)
        grey = [decode(tiff(values[..., at].copy()), 1)[..., 0] for at in range(4)]
        bands = decode(tiff(values, photometric="minisblack", planarconfig="contig"), 4)
        assert np.array_equal(bands, np.stack(grey, axis=2))
    assert bands.max() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_four_channels_stand_upright(kind, orientation):
    if kind == "TIFF":
        bands = np.ascontiguousarray(RGBA)
        data = tiff(bands, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(RGBA, exif=exif)
    opaque = Image.fromarray(np.ascontiguousarray(RGBA[..., :3]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode(encoded(opaque, exif=exif))
    opened = open_image(data, 4)
    assert opened.size_hw == expected.shape[:2]
    assert np.array_equal(opened.decode().pixels[..., :3], expected)


def test_colours_of_a_profile_become_srgb_and_alpha_stays():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    assert np.array_equal(decode(encoded(RGBA, icc_profile=lab.tobytes()), 4), RGBA)
    opaque = RGBA.copy()
    opaque[..., 3] = 255
    assert np.array_equal(decode(encoded(opaque), 4)[..., :3], decode(encoded(opaque)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(RGBA[..., :3].copy()), r"no fourth channel \(its mode is RGB\).*save it with alpha"),
        (encoded(RGBA[..., :3].copy(), "JPEG"), r"no fourth channel \(its mode is RGB\)"),
        (encoded(RGBA[..., 0].copy(), "JPEG"), r"no fourth channel \(its mode is L\)"),
        (encoded(Image.fromarray(RGBA[..., :3].copy()).convert("CMYK"), "JPEG"), r"its mode is CMYK"),
        (RGBA[..., :3], r"must have the shape \[H, W, 4\]; got \(37, 53, 3\)"),
        (Image.fromarray(RGBA[..., 0].copy()), r"no fourth channel \(its mode is L\)"),
        (encoded(Image.fromarray(RGBA[..., :3].copy()).convert("CMYK"), "TIFF"), "four inks .* convert it to RGBA"),
        (tiff(np.zeros((8, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig"), "a TIFF of 5 bands"),
        (tiff(np.zeros((8, 9, 4), np.float32), photometric="rgb"), "save it as uint8 or uint16"),
        (tiff(np.zeros((8, 9, 4), np.int16), photometric="rgb"), "save it as uint8 or uint16"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_has_no_four_channels_is_refused_by_name(data, reason):
    with pytest.raises(ImageError, match=reason):
        open_image(data, 4)


def test_bands_without_colours_are_not_guessed_to_be_colours():
    with pytest.raises(ImageError, match="Four bands are read as four channels"):
        decode(tiff(RGBA, photometric="minisblack", planarconfig="contig"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bands_are_refused_and_nothing_else():
    rng = np.random.default_rng(3)
    whole = tiff(RGBA, photometric="rgb", compression="zlib", predictor=True, tile=(16, 32))
    n_refused = 0
    for _ in range(120):
        data = bytearray(whole)
        for at in rng.integers(0, 400, 2):
            data[at] = rng.integers(256)
        try:
            assert decode(bytes(data), 4).shape[2] == 4
        except ImageError:
            n_refused += 1
    assert n_refused > 20


# -- A set that alpha alone tells apart


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """A folder of noise, whose alpha has stripes across or down; colours tell nothing."""
    root = tmp_path_factory.mktemp("cutouts")
    rng = np.random.default_rng(0)
    for at in range(64):
        label = ("across", "down")[at % 2]
        stripe = (np.mgrid[:40, :40][at % 2] + rng.integers(12)) // 6 % 2
        pixels = np.dstack([rng.integers(0, 256, (40, 40, 3)), 40 + 215 * stripe]).astype(np.uint8)
        file = root / ("valid" if at >= 44 else "train") / label / f"{at:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return root


def block(**options):
    options = {"item_tfms": Resize(40), "get_items": get_image_files, "get_y": parent_label} | options
    splitter = FuncSplitter(lambda file: file.parts[-3] == "valid")
    return DataBlock((ImageBlock(n_channels=4), CategoryBlock), splitter=splitter, **options)


@pytest.fixture(scope="module")
def learn(cutouts):
    """A learner that has found out what alpha says."""
    dls = block(batch_tfms=[Flip(), Contrast()]).dataloaders(cutouts, bs=11, num_workers=0, device="cpu")
    torch.manual_seed(0)
    learn = vision_learner(dls, "test_resnet", pretrained=False, seed=0, metrics=accuracy)
    learn.fit_one_cycle(8, 1e-2)
    return learn


def test_a_set_that_alpha_alone_tells_apart_is_learned(learn, cutouts):
    assert learn.dls.one_batch()[0].shape == (11, 4, 40, 40)
    assert learn.validate()[1] >= 0.9
    image, _ = learn.dls.train.dataset[0]
    assert (image.mode, image.size) == ("RGBA", (40, 40))
    files = [get_image_files(cutouts / "valid" / label)[0] for label in ("across", "down")]
    across, down = (np.asarray(Image.open(file)) for file in files)
    swapped = np.dstack([across[..., :3], down[..., 3:]])
    assert [learn.predict(image).label for image in (across, down, swapped)] == ["across", "down", "down"]


def test_a_model_of_four_channels_answers_alike_wherever_it_is_asked(learn, cutouts, tmp_path, monkeypatch, capsys):
    files = get_image_files(cutouts / "valid")
    ours = torch.stack([learn.predict(file).values for file in files])
    for form in (lambda f: np.asarray(Image.open(f)), Image.open, lambda f: f.read_bytes()):
        assert torch.equal(torch.stack([learn.predict(form(file)).values for file in files]), ours)
    assert torch.allclose(learn.get_preds(dl=learn.dls.test_dl(files))[0], ours, atol=1e-6)
    assert learn.tta(n=1)[0].shape == (20, 2)

    bundle = learn.export(tmp_path / "four.safetensors")
    loaded = load_learner(bundle, device="cpu")
    assert torch.equal(torch.stack([loaded.predict(file).values for file in files]), ours)
    exported = export_model(loaded, tmp_path / "four.onnx")
    assert max(exported.differences.values()) <= TOLERANCE
    assert json.loads(exported.files[1].read_text())["input"]["shape"] == ["height", "width", 4]
    pixels = np.asarray(Image.open(files[0]))
    onnx = InferenceSession(exported.files[0]).run(None, {"image": pixels})[0]
    assert np.allclose(onnx, ours[0], atol=1e-4)
    monkeypatch.setattr(sys, "argv", [str(exported.files[2]), *map(str, files)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(exported.files[2]), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    answers = [list(json.loads(line)["probabilities"].values()) for line in lines]
    assert np.allclose(answers, ours, atol=1e-4)  # nothing is resized here

    with TestClient(app_of(ServeSettings(model=bundle, device="cpu")), base_url="http://127.0.0.1:8000") as service:
        answer = service.post("/predict", content=files[0].read_bytes(), headers={"Content-Type": "image/png"})
        probabilities = answer.json()["answers"][0]["probabilities"]
        assert np.allclose([probabilities[name] for name in loaded.task.names], ours[0], atol=1e-5)
        opaque = service.post("/predict", content=encoded(RGBA[..., :3].copy()), headers={"Content-Type": "image/png"})
        assert opaque.status_code == 422
        assert "no fourth channel" in opaque.json()["error"]


def test_of_four_channels_the_first_three_are_shown(learn, cutouts):
    file = get_image_files(cutouts / "valid")[0]
    sheet = results_sheet(learn.validation_predictions(), max_n=1)
    names = [np.asarray(Image.open(one))[..., :3] for one in get_image_files(cutouts / "valid")]
    shown = np.asarray(sheet.axes[0].get_images()[0].get_array())
    assert any(np.array_equal(shown, colours) for colours in names)
    plt.close("all")
    learn.dls.valid.show_batch(max_n=1)
    first = np.asarray(Image.open(learn.dls.valid.dataset.images[0]))[..., :3]
    assert np.array_equal(plt.gcf().axes[0].get_images()[0].get_array(), first)
    plt.close("all")
    assert overlay(learn.predictor(), file)[0].shape == (40, 40, 3)


def test_a_fourth_channel_moves_with_the_others(cutouts):
    """Where three channels and the fourth show the same, they do so after every move, resize and tone."""
    file = get_image_files(cutouts)[0]
    alpha = np.asarray(Image.open(file))[..., 3]
    same = np.repeat(alpha[..., None], 4, axis=2)
    plan = DataBlock(
        (ImageBlock(n_channels=4), PointBlock),
        get_x=lambda _: same,
        get_y=lambda _: [20.0, 20.0],
        item_tfms=Resize(32),
        batch_tfms=aug_transforms(),
    )
    batch, _ = plan.dataloaders(list(range(10)), bs=8, num_workers=0, device="cpu").one_batch()
    assert batch.shape == (8, 4, 32, 32)
    assert torch.equal(batch, batch[:, :1].expand(-1, 4, -1, -1))
    assert batch.std() > 0.1


def test_an_image_without_the_four_is_named_in_the_audit_and_left_out(cutouts, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    odd = tmp_path / "set" / "train" / "across" / "odd.png"
    odd.parent.mkdir(parents=True)
    Image.fromarray(RGBA[..., :3].copy()).save(odd)
    files = [*get_image_files(cutouts), odd]
    plan = block(get_items=None)
    audit = plan.check(files)
    assert [finding.where for finding in audit.errors] == [str(odd)]
    assert "no fourth channel" in audit.errors[0].value
    assert not [finding for finding in audit.findings if "copy" in finding.rule]
    with pytest.warns(UserWarning, match="1 images cannot be used and are left out"):
        dls = plan.dataloaders(files, bs=11, device="cpu", on_bad="skip")
    assert dls.train.n == 44
    with pytest.raises(ImageError, match=r"odd\.png: it has no fourth channel"):
        list(plan.dataloaders(files, bs=45, device="cpu", num_workers=0).train)


@pytest.mark.filterwarnings("ignore:The label")
def test_alpha_that_differs_alone_makes_no_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    y, x = np.mgrid[:64, :64]
    for name, reach in (("a", x + y), ("b", x - y + 64), ("c", x + y)):
        pixels = np.dstack([x * 4, y * 4, x * 2, np.where(reach < 64, 255, 0)]).astype(np.uint8)
        pixels[0, 0, 0] = ord(name)  # the files differ
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / f"{name}.png")
    plan = DataBlock((ImageBlock(n_channels=4), CategoryBlock), get_y=parent_label, splitter=lambda _: ([0, 1], [2]))
    copies = [finding for finding in plan.check(get_image_files(tmp_path)).findings if "copy" in finding.rule]
    assert [finding.value for finding in copies] == ["c.png = a.png"]


def test_the_first_convolution_is_adapted_as_timm_does_it():
    three = pretrained_model(ModelSpec(zoo.DEFAULT_ARCH, 2, (64, 64)))[0].body.network.conv_stem.weight
    four = pretrained_model(ModelSpec(zoo.DEFAULT_ARCH, 2, (64, 64), n_channels=4))[0].body.network.conv_stem.weight
    assert torch.allclose(four, torch.cat([three, three[:, :1]], dim=1) * 0.75)
    assert build_model(ModelSpec("test_vit", 2, (32, 32), n_channels=4)).eval()(torch.zeros(2, 4, 32, 32)).shape == (
        2,
        2,
    )


def test_a_table_of_four_bands_is_trained_from_the_short_form(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("dry", "wet"):
        for at in range(8):
            bands = rng.integers(0, 3000, (24, 24, 4)).astype(np.uint16)
            bands[..., 3] += 40000 * (label == "wet")
            (tmp_path / label).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / label / f"{at}.tif", bands, photometric="minisblack", planarconfig="contig")
    options = {"valid_pct": 0.25, "seed": 0, "item_tfms": Resize(24), "bs": 6, "device": "cpu"}
    dls = ImageDataLoaders.from_folder(tmp_path, n_channels=4, **options)
    learn = vision_learner(dls, head="linear")
    learn.probe()
    assert learn.validate()[1] == 1.0
    with pytest.raises(InputError, match=r"and the model was made for 4: build them with ImageBlock\(n_channels=4\)"):
        learn.dls = ImageDataLoaders.from_folder(tmp_path, **options)


def test_the_command_line_takes_four_channels(foveal, cutouts, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    assert "0 errors" in foveal("check", cutouts, "--channels", "rgba").out
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "0.jpg").write_bytes(encoded(RGBA[..., :3].copy(), "JPEG"))
    assert "no fourth channel" in foveal("check", tmp_path / "set", "--channels", "rgba", code=1).out


def test_bands_are_looked_at_where_nobody_says_how_many_there_are(tmp_path):
    file = tmp_path / "bands.tif"
    file.write_bytes(tiff(RGBA, photometric="minisblack", planarconfig="contig"))
    assert np.array_equal(open_any(file).decode().pixels, RGBA)
    assert np.array_equal(open_any(RGBA[..., :3]).decode().pixels, RGBA[..., :3])
    assert verify_image(file)
    with pytest.raises(ImageError, match="no such file"):
        open_any(tmp_path / "none.tif")
    axes = show_image(torch.from_numpy(RGBA.copy()).permute(2, 0, 1))
    assert np.array_equal(axes.get_images()[0].get_array(), RGBA[..., :3])
    plt.close("all")


def test_what_changes_colours_is_refused_before_anything_is_read():
    with pytest.raises(InputError, match=r"Saturation\(.*\) is for images of 3 channels, and these have 4"):
        block(batch_tfms=Saturation())
    with pytest.raises(InputError, match=r"Hue\(.*\) is for images of 3 channels, and these have 1"):
        DataBlock((ImageBlock(n_channels=1), CategoryBlock), batch_tfms=[Hue()])
    block(batch_tfms=RandomErasing())


def test_batches_of_four_channels_are_decoded(learn):
    images, labels = learn.dls.valid.decode(learn.dls.valid.one_batch())
    whole = np.asarray(Image.open(learn.dls.valid.dataset.images[0])).transpose(2, 0, 1)
    assert np.array_equal((images[0] * 255).round().numpy(), whole)
    assert len(labels) == len(images)


def test_a_network_of_ones_own_is_normalised_for_its_channels(learn):
    network = timm.create_model("test_resnet", in_chans=4, num_classes=0)
    made = vision_learner(learn.dls, network, pretrained=False)
    assert made.model.body.statistics == zoo.statistics_of("test_resnet", 4)


def test_statistics_of_four_channels_can_be_measured(cutouts):
    dls = block(batch_tfms=Normalize()).dataloaders(cutouts, bs=44, num_workers=0, device="cpu")
    pixels = np.stack([np.asarray(Image.open(file)) for file in dls.train.dataset.images]) / 255
    assert np.allclose(dls.pipeline.statistics.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-4)
    assert np.allclose(dls.pipeline.statistics.std, pixels.std(axis=(0, 1, 2)), atol=1e-4)
    batch = dls.train.one_batch()[0]
    assert float(batch.mean(dim=(0, 2, 3)).abs().max()) < 1e-3
