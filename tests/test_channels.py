"""One and four channels: how many an image has is said once, and holds from the file to the service."""

import io
import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from onnxruntime import InferenceSession
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from foveal.core.errors import InputError
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.labels import parent_label
from foveal.data.samples import PixelOperation
from foveal.data.splits.splitters import FuncSplitter
from foveal.evaluation.predictions import Predictions
from foveal.geometry.homography import Homography
from foveal.geometry.moves import Rotate
from foveal.geometry.resize import Resize
from foveal.geometry.warp import stack_windows, warp, warp_batch, window
from foveal.images.augment import Normalize, aug_transforms
from foveal.images.decode import decode, open_image
from foveal.images.means import means_of_squares, reduction_factor
from foveal.images.pil import PILImage, PILImageBW
from foveal.images.prepare import IMAGENET, Preparation, Statistics
from foveal.images.tones import apply_lut, apply_luts
from foveal.inference.explain import overlay
from foveal.inference.exports import TOLERANCE, export_model
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.inference.store import read_manifest
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.metrics.one_label import accuracy
from foveal.models import zoo
from foveal.models.vision import ModelSpec, build_model, pretrained_model
from foveal.serve.http import app_of
from foveal.serve.service import ServeSettings
from foveal.sources.folders import get_image_files
from foveal.tasks.single_label import CategoryBlock


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(mode="RGB", size_hw=(37, 52), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 4), dtype=np.uint8)
    return Image.fromarray(cv2.GaussianBlur(pixels, (5, 5), 1)).convert(mode)


def grey_of(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


# -- Decoding


MODES = {
    "PNG": ["RGB", "L", "LA", "RGBA", "P", "1", "I;16"],
    "TIFF": ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16"],
    "JPEG": ["RGB", "L", "CMYK"],
    "array": ["RGB", "L"],
    "PIL": ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "F"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_one_channel_is_pillows_grey_of_what_three_are(kind, mode):
    image = Image.fromarray(np.asarray(noise("L")).astype(np.uint16) * 200) if mode == "I;16" else noise(mode)
    source = {"array": np.asarray, "PIL": lambda one: one}.get(kind, lambda one: encoded(one, kind))(image)
    assert np.array_equal(decode(source, 1), grey_of(decode(source)))
    assert decode(source, 1).shape == (*image.size[::-1], 1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("orientation", [1, 6, 4])
def test_a_jpeg_is_grey_alike_at_every_scale(mode, subsampling, scale, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if mode == "L" else {"subsampling": subsampling}
    data = encoded(noise(mode, (97, 131)), "JPEG", exif=exif, quality=80, **options)
    grey, rgb = (open_image(data, n).decode(scale, quick=True) for n in (1, 3))
    assert np.array_equal(grey.pixels, grey_of(rgb.pixels))
    assert np.array_equal(grey.source_to_decoded.matrix, rgb.source_to_decoded.matrix)
    whole = grey_of(open_image(data, 3).decode().pixels)
    assert np.array_equal(open_image(data, 1).decode(scale).pixels, means_of_squares(whole, reduction_factor(scale)))


def test_photographs_are_grey_by_the_rule(photographs):
    for file in sorted((photographs / "pets_mini").rglob("*.jpg"))[:8]:
        for scale in (1.0, 0.3):
            pixels = [open_image(file, n).decode(scale, quick=True).pixels for n in (1, 3)]
            assert np.array_equal(pixels[0], grey_of(pixels[1]))


def test_arrays_of_one_channel_come_in_three_shapes():
    grey = np.asarray(noise("L"))
    for array in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2)):
        assert np.array_equal(decode(array, 1)[..., 0], grey)
    with pytest.raises(
        InputError, match=r"must have the shape \[H, W\], \[H, W, 1\] or \[H, W, 3\]; got \(37, 52, 4\)"
    ):
        decode(np.asarray(noise("RGBA")), 1)
    with pytest.raises(InputError, match=r"`n_channels` must be 1 \(grey\), 3 \(RGB\) or 4"):
        ImageBlock(n_channels=2)


def test_notebooks_see_the_kind_of_image():
    image = PILImageBW.create(encoded(noise()))
    assert (image.mode, repr(image), image.shape) == ("L", "PILImageBW mode=L size=52x37", (37, 52))
    assert isinstance(image.to_thumb(10), PILImageBW)
    assert np.array_equal(np.asarray(image), decode(encoded(noise()), 1)[..., 0])
    assert ImageBlock(cls=PILImageBW) == ImageBlock(PILImageBW) == ImageBlock(n_channels=1) != ImageBlock()
    assert ImageBlock(cls=PILImage) == ImageBlock() == ImageBlock(n_channels=3)
    with pytest.raises(InputError, match=r"four channels are ImageBlock\(n_channels=4\)"):
        ImageBlock(cls=Image.Image)
    with pytest.raises(InputError, match="`cls` means n_channels=1, and `n_channels` is 3"):
        ImageBlock(cls=PILImageBW, n_channels=3)


# -- Geometry and tones: every channel is treated as it would be alone


@pytest.mark.parametrize("n_channels", [1, 4])
@pytest.mark.parametrize("scale", [2.0, 0.8, 0.45, 0.2])
def test_channels_are_warped_each_as_if_alone(n_channels, scale):
    pixels = np.asarray(noise("RGBA", (90, 120)))[..., :n_channels]
    size_hw = (40, 48)
    turn = Homography.translation(-60, -45).then(
        Homography.scaling(scale, scale),
        Rotate(20, p=1)((90, 120), np.random.default_rng(1)),
        Homography.translation(24, 20),
    )
    lut = np.arange(255, -1, -1, dtype=np.uint8)
    alone = [np.repeat(pixels[..., at : at + 1], 3, axis=2) for at in range(n_channels)]
    together = warp(pixels, turn, size_hw)
    assert together.shape == (*size_hw, n_channels)
    for at, one in enumerate(alone):
        assert np.array_equal(together[..., at], warp(one, turn, size_hw)[..., 0])
        assert np.array_equal(apply_lut(together, lut)[..., at], 255 - together[..., at])

    def batched(image):
        visible, to_input = window(image, turn, size_hw)
        return warp_batch(stack_windows([visible]), Homography.stack([to_input]), size_hw)

    batch = batched(pixels)
    assert batch.shape == (1, *size_hw, n_channels)
    for at, one in enumerate(alone):
        assert torch.equal(batch[..., at], batched(one)[..., 0])
    assert torch.equal(apply_luts(batch, [lut]), 255 - batch)


def test_statistics_follow_the_channels():
    assert IMAGENET.for_channels(3) is IMAGENET
    grey, four = IMAGENET.for_channels(1), IMAGENET.for_channels(4)
    assert np.allclose((grey.mean[0], grey.std[0]), (np.mean(IMAGENET.mean), np.mean(IMAGENET.std)))
    assert (four.mean, four.std) == ((*IMAGENET.mean, 0.5), (*IMAGENET.std, 0.25))
    with pytest.raises(InputError, match="one for grey, four for four channels"):
        Statistics((0.5, 0.5), (0.5, 0.5))


def test_what_is_for_other_channels_is_refused_by_name():
    class Colours(PixelOperation):
        n_channels = 3

        def __call__(self, batch):
            return batch

        def __repr__(self):
            return "Colours()"

    with pytest.raises(InputError, match=r"these have 1: give Normalize.from_stats\(\(0.449,\), \(0.226,\)\)"):
        DataBlock((ImageBlock(PILImageBW), CategoryBlock), batch_tfms=Normalize(IMAGENET))
    with pytest.raises(InputError, match=r"Colours\(\) is for images of 3 channels, and these have 4\."):
        DataBlock((ImageBlock(n_channels=4), CategoryBlock), batch_tfms=Colours())


# -- A grey set, from file to service


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """A folder of stripes across and down, in grey, one of them saved in colour."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for at in range(48):
        y, x = np.mgrid[:40, :48]
        label = ("across", "down")[at % 2]
        wave = np.sin((y, x)[at % 2] / 2.5 + 6 * rng.random())
        pixels = (128 + 70 * wave + rng.normal(0, 10, (40, 48))).clip(0, 255).astype(np.uint8)
        file = root / ("valid" if at >= 36 else "train") / label / f"{at:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert("RGB" if at == 3 else "L").save(file)
    return root


def block(n_channels, **options):
    return DataBlock(
        (ImageBlock(n_channels=n_channels), CategoryBlock),
        get_items=get_image_files,
        get_y=parent_label,
        splitter=FuncSplitter(lambda file: file.parts[-3] == "valid"),
        item_tfms=Resize(32),
        **options,
    )


@pytest.fixture(scope="module")
def exported(grey, stripes, tmp_path_factory):
    """What `export_model` wrote of it."""
    images = get_image_files(stripes / "valid")
    return export_model(grey.predictor(), tmp_path_factory.mktemp("onnx") / "grey.onnx", images=images)


@pytest.fixture(scope="module")
def grey(stripes):
    """A learner with one channel, trained on the stripes."""
    dls = block(1, batch_tfms=aug_transforms(max_rotate=5)).dataloaders(stripes, bs=12, num_workers=0, device="cpu")
    torch.manual_seed(0)
    learn = vision_learner(dls, "test_resnet", pretrained=False, seed=0, metrics=accuracy)
    learn.fit_one_cycle(4, 1e-2)
    return learn


def test_loaders_and_model_have_one_channel(grey, stripes):
    assert grey.dls.one_batch()[0].shape == (12, 1, 32, 32)
    image, _ = grey.dls.train.dataset[0]
    assert isinstance(image, PILImageBW)
    assert grey.model.spec.n_channels == 1
    assert grey.model.body.statistics == zoo.statistics_of("test_resnet", 1)
    dls = ImageDataLoaders.from_folder(stripes, img_cls=PILImageBW, item_tfms=Resize(16), bs=4, device="cpu")
    assert dls.one_batch()[0].shape == (4, 1, 16, 16)
    assert dls.test_dl(get_image_files(stripes)[:2]).one_batch()[0].shape == (2, 1, 16, 16)


def test_a_model_of_one_channel_answers_alike_wherever_it_is_asked(grey, stripes, exported, tmp_path):
    files = get_image_files(stripes / "valid")
    predictor = grey.predictor()
    ours = torch.stack([predictor.predict(file).values for file in files])
    for form in (lambda f: np.asarray(Image.open(f)), Image.open, lambda f: f.read_bytes(), PILImage.create):
        assert torch.equal(torch.stack([predictor.predict(form(file)).values for file in files]), ours)
    assert torch.allclose(grey.get_preds(dl=grey.dls.test_dl(files))[0], ours, atol=1e-6)

    loaded = load_learner(grey.export(tmp_path / "grey.safetensors"), device="cpu")
    assert (loaded.preparation.n_channels, loaded.vision.spec) == (1, grey.model.spec)
    assert torch.equal(torch.stack([loaded.predict(file).values for file in files]), ours)
    stored = read_manifest(tmp_path / "grey.safetensors").model_dump()
    assert stored["preparation"]["n_channels"] == stored["model"]["n_channels"] == 1

    assert max(exported.differences.values()) <= TOLERANCE
    described = json.loads(exported.files[1].read_text())
    assert described["input"]["shape"] == ["height", "width", 1]
    assert described["input"]["is"] == "grey, upright"
    pixels = loaded.preparation.image(files[0]).pixels
    onnx = InferenceSession(exported.files[0]).run(None, {"image": pixels})[0]
    assert np.allclose(onnx, ours[0], atol=1e-4)

    app = app_of(ServeSettings(model=tmp_path / "grey.safetensors", device="cpu"))
    with TestClient(app, base_url="http://127.0.0.1:8000") as service:
        for file, values in zip(files, ours, strict=True):
            answer = service.post("/predict", content=file.read_bytes(), headers={"Content-Type": "image/png"})
            probabilities = answer.json()["answers"][0]["probabilities"]
            assert np.allclose([probabilities[name] for name in loaded.task.names], values, atol=1e-5)
        png = service.post("/explain", content=files[0].read_bytes(), headers={"Content-Type": "image/png"}).content
        assert Image.open(io.BytesIO(png)).size == (32, 32)


def test_the_runner_answers_for_grey(grey, stripes, exported, monkeypatch, capsys):
    files = [str(file) for file in get_image_files(stripes / "valid")]
    assert len(exported.files[2].read_text().splitlines()) <= 100
    monkeypatch.setattr(sys, "argv", [str(exported.files[2]), *files])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(exported.files[2]), run_name="__main__")
    answers = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    theirs = np.array([[answer["across"], answer["down"]] for answer in answers])
    assert np.allclose(theirs, [grey.predict(file).values.numpy() for file in files], atol=1e-4)


def test_grey_is_shown_in_grey(grey):
    plt.close("all")
    for show in (grey.dls.show_batch, grey.show_results):
        show(max_n=2)
        shown = plt.gcf().axes[0].get_images()[0].get_array()
        assert shown.shape[2] == 3
        assert np.array_equal(shown[..., 0], shown[..., 2])
        assert np.ptp(shown[..., 0]) > 50
    plt.close("all")


def test_all_that_a_learner_does_is_done_in_grey(grey, stripes, tmp_path):
    file = get_image_files(stripes / "valid")[0]
    plain, _ = grey.get_preds()
    moved, _ = grey.tta(n=2)
    assert torch.allclose(grey.tta(n=0)[0], plain)
    assert torch.allclose(moved.sum(dim=1), torch.ones(12))
    assert not torch.allclose(moved, plain)
    shown, label = overlay(grey.predictor(), file)
    assert (shown.shape, label in {"across", "down"}) == ((32, 32, 3), True)
    assert np.array_equal(shown[..., 0], shown[..., 1])
    assert grey.embed([file]).vectors.shape[0] == 1
    predictions = grey.validation_predictions()
    predictions.save(tmp_path / "predictions.safetensors")
    assert (predictions.n_channels, Predictions.load(tmp_path / "predictions.safetensors").n_channels) == (1, 1)
    assert "32 x 32 pixels of 1 channel," in grey.report(tmp_path / "report.html").read_text()
    grey.path = tmp_path
    before = grey.predict(file).values
    grey.save("here")
    with torch.no_grad():
        next(grey.model.parameters()).zero_()
    assert not torch.equal(grey.predict(file).values, before)
    grey.load("here")
    assert torch.equal(grey.predict(file).values, before)
    again = vision_learner(grey.dls, grey.export(tmp_path / "grey.safetensors").as_posix())
    assert torch.equal(again.predict(file).values, grey.predict(file).values)


def test_a_probe_finds_the_stripes(stripes):
    learn = vision_learner(block(1).dataloaders(stripes, bs=12, device="cpu"), head="linear")
    learn.probe()
    assert learn.validate()[1] > 0.9


def test_a_pretrained_backbone_sees_in_grey_what_it_sees_in_colour():
    """Its statistics are the same for all colours, so that grey as three channels is the same input."""
    spec = ModelSpec(zoo.DEFAULT_ARCH, 2, (64, 64))
    models = [pretrained_model(ModelSpec(spec.arch, 2, (64, 64), n_channels=n))[0].eval() for n in (1, 3)]
    pixels = torch.from_numpy(np.array(noise("L", (64, 64))))[None, ..., None]
    with torch.inference_mode():
        one, three = (
            model.body(Preparation(Resize(64), zoo.statistics_of(spec.arch, n)).normalise(pixels.expand(-1, -1, -1, n)))
            for model, n in zip(models, (1, 3), strict=True)
        )
    assert torch.allclose(one, three, atol=1e-4 * float(three.abs().max()))


def test_other_channels_than_the_loaders_say_are_refused(grey, stripes, tmp_path):
    with pytest.raises(InputError, match=r"`n_in` is 3, and the loaders read images with n_channels=1: leave it out"):
        vision_learner(grey.dls, "test_resnet", n_in=3, pretrained=False)
    assert vision_learner(grey.dls, "test_resnet", n_in=1, pretrained=False).model.spec.n_channels == 1
    rgb = block(3).dataloaders(stripes, bs=12, device="cpu")
    again = r"read images with n_channels=3, and the model was made for 1: build them with ImageBlock\(cls=PILImageBW\)"
    with pytest.raises(InputError, match=again):
        grey.get_preds(dl=rgb.valid)
    with pytest.raises(InputError, match=again):
        vision_learner(rgb, str(grey.export(tmp_path / "grey.safetensors")))
    with pytest.raises(InputError, match=again):
        grey.dls = rgb


def test_a_module_of_ones_own_is_given_one_channel(stripes, tmp_path):
    def network():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    learn = Learner(block(1).dataloaders(stripes, bs=12, device="cpu"), network(), nn.CrossEntropyLoss())
    learn.fit(1)
    file = get_image_files(stripes)[0]
    loaded = load_learner(learn.export(tmp_path / "own.safetensors"), model=network(), device="cpu")
    assert loaded.preparation.n_channels == 1
    assert torch.equal(loaded.predict(file).values, learn.predict(file).values)


def test_rgb_bundles_say_nothing_new(tmp_path):
    model = build_model(ModelSpec("test_resnet", 2, (32, 32)))
    task = CategoryBlock(vocab=["a", "b"]).bind(["a", "b"])
    Predictor.of(model, task, Preparation.of((32, 32), "crop", IMAGENET)).save(tmp_path / "rgb.safetensors")
    manifest = read_manifest(tmp_path / "rgb.safetensors")
    assert "n_channels" not in manifest.model_dump_json()
    assert manifest.preparation.n_channels == manifest.model.n_channels == 3


def test_the_command_line_answers_in_grey(grey, foveal, stripes, tmp_path, monkeypatch):
    """That it trains so is shown by the page on grey-scale sets (test_docs)."""
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    bundle, file = grey.export(tmp_path / "grey.safetensors"), get_image_files(stripes / "valid")[0]
    assert f"{file}: {grey.predict(file).label}" in foveal("predict", bundle, file).out
    assert "made grey" in foveal("info", bundle).out
    assert "accuracy" in foveal("evaluate", bundle, stripes).out
    assert "0 errors" in foveal("check", stripes, "--channels", "grey").out
    assert "Did you mean `grey`?" in foveal("check", stripes, "--channels", "gray", code=2).err
