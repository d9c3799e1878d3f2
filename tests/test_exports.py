"""Exports answer as the model does, in a program that knows nothing of foveal."""

import itertools
import json
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation.predictions import Predictions
from foveal.geometry.pixels import PadMode
from foveal.geometry.resize import Resize, ResizeMethod
from foveal.images.prepare import IMAGENET, UNCHANGED_OF, Preparation
from foveal.inference.exports import BATCHES, TOLERANCE, export_model
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.runs import int8
from foveal.runs.folder import predictions_of
from foveal.sources.synthetic import draw_scene
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.vocab import Vocab

GOLDEN = Path(__file__).parent / "golden"


def run(runner, *arguments):
    """Run a runner in a process that cannot import foveal; return the lines that it prints."""
    code = "import runpy, sys; sys.modules['foveal'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(runner), *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("size", [48, 96, 160])
def test_photographs_are_answered_alike_from_their_files(tmp_path, photographs, size):
    """At three sizes: shrunk to less than half, to half or more, and about as large as they are."""
    stored = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    preparation = replace(stored.preparation, fit=replace(stored.preparation.fit, size=size))
    predictor = Predictor.of(stored.model, stored.task, preparation)
    files = sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:64]
    found = export_model(predictor, tmp_path / "model.onnx", images=files)
    assert set(found.differences) == set(BATCHES) == {1, 3, 64}
    assert max(found.differences.values()) <= TOLERANCE
    assert [file.name for file in found.files] == ["model.onnx", "model.onnx.json", "model_runner.py"]
    assert found.from_files.n == 64
    assert found.from_files.difference < 1e-4  # a tenth of what is allowed
    assert found.from_files.n_other_labels == 0
    answers = [json.loads(line) for line in run(found.files[2], *files[:8])]
    for answer, file in zip(answers, files, strict=False):
        ours = predictor.predict(file)
        assert (answer["fname"], answer["labels"]) == (str(file), ours.label)
        assert list(answer["probabilities"].values()) == pytest.approx(ours.values.tolist(), abs=1e-4)


def test_the_graph_has_the_pixels_of_preparation(tmp_path):
    """Whatever comes: any size, any method, any border; whole numbers, so equal, but for places between two pixels."""
    onnx_ir, onnxscript, onnxruntime = map(pytest.importorskip, ("onnx_ir", "onnxscript", "onnxruntime"))
    from foveal.inference.onnx_images import add_preparation

    rng = np.random.default_rng(0)
    for method, pad_mode in itertools.product(get_args(ResizeMethod), get_args(PadMode)):
        for size_hw, n_channels in (((64, 64), 3), ((40, 96), 1), ((7, 31), 4)):
            fit = Resize(size_hw, method, pad_mode)
            image = onnx_ir.val("image", dtype=onnx_ir.DataType.UINT8, shape=["height", "width", n_channels])
            graph = onnx_ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="steps")
            builder = onnxscript.GraphBuilder(graph)
            builder.add_output(add_preparation(builder, image, fit).pixels, "pixels")
            onnx_ir.save(onnx_ir.Model(graph, ir_version=10), tmp_path / "steps.onnx")
            session = onnxruntime.InferenceSession(tmp_path / "steps.onnx")
            h, w = size_hw
            sizes = [
                (h, w),
                (2 * h, 2 * w),
                (4 * h, 5 * w),
                (20 * h, 20 * w),
                (1, 1),
                (3, 300),
                (301, 2),
                (h + 1, w - 1),
            ]
            sizes += [tuple(rng.integers(1, 500, 2)) for _ in range(6)]
            for size in sizes:
                pixels = rng.integers(0, 256, (*size, n_channels), dtype=np.uint8)
                source = pixels[..., 0] if n_channels == 1 else pixels
                ours = Preparation(fit, UNCHANGED_OF[n_channels]).image(source).pixels.astype(int)
                (theirs,) = session.run(None, {"image": pixels})
                off = np.abs(theirs[0] - ours)
                assert off.max() <= 1, (fit, size)
                assert (off > 0).mean() < 0.005, (fit, size)


@pytest.mark.parametrize("method", ["crop", "pad", "squish"])
def test_openvino_answers_alike_in_single_precision(tmp_path, photographs, method):
    openvino = pytest.importorskip("openvino")
    stored = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    preparation = Preparation.of((64, 64), method, IMAGENET)
    predictor = Predictor.of(stored.model, stored.task, preparation)
    export_model(predictor, tmp_path / "model.onnx")
    model = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for file in sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:16]:
        theirs = model(np.asarray(Image.open(file).convert("RGB")))[0]
        np.testing.assert_allclose(theirs, predictor.predict(file).values, atol=1e-3)


def odd_files(folder):
    """Write images of the kinds that need more than pixels to be read."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).resize((180, 140))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 250)
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.save(folder / "turned.png", exif=exif)
    rgb.convert("L").save(folder / "grey.jpg")
    rgb.convert("CMYK").save(folder / "inks.jpg")
    rgb.convert("P").save(folder / "palette.gif")
    rgb.convert("1").save(folder / "one bit.png")
    rgba.save(folder / "alpha.png")
    rgba.save(folder / "alpha.webp", lossless=True)
    rgba.convert("LA").save(folder / "grey alpha.png")
    deep.save(folder / "deep.png")
    rgb.save(folder / "profile.jpg", icc_profile=wide_profile())
    rgba.save(folder / "profile.png", icc_profile=wide_profile())
    rgb.save(folder / "broken profile.jpg", icc_profile=b"no profile")
    return sorted(folder.iterdir())


def wide_profile():
    """Return a profile of RGB with other primaries: that of sRGB with red and green exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132]), 12)}
    red, green = (entries[name] for name in (b"rXYZ", b"gXYZ"))
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))


def test_the_runner_reads_odd_files_as_foveal_does_or_refuses_them(tmp_path):
    predictor = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    (tmp_path / "odd").mkdir()
    files = odd_files(tmp_path / "odd")
    found = export_model(predictor, tmp_path / "model.onnx", images=files)
    assert found.from_files.refused == {}
    assert (found.from_files.n, found.from_files.n_other_labels) == (len(files), 0)
    assert found.from_files.difference < 1e-4
    plain, wide = (predictor.predict(tmp_path / "odd" / f"{name}.jpg").values for name in ("broken profile", "profile"))
    assert (plain - wide).abs().max() > 1e-3  # so that a profile left alone would show


def test_the_runner_goes_on_after_a_broken_file(tmp_path):
    predictor = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    export_model(predictor, tmp_path / "model.onnx")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    draw_scene(0, 0).image.save(tmp_path / "a.jpg")
    done = subprocess.run(
        [sys.executable, tmp_path / "model_runner.py", tmp_path / "broken.jpg", tmp_path / "none.png", tmp_path / "a.jpg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert [json.loads(line)["fname"] for line in done.stdout.splitlines()] == [str(tmp_path / "a.jpg")]
    refused = [json.loads(line) for line in done.stderr.splitlines()]
    assert [Path(one["fname"]).name for one in refused] == ["broken.jpg", "none.png"]
    assert all(one["error"] for one in refused)


def test_an_export_that_reads_files_otherwise_is_not_written(tmp_path, monkeypatch):
    predictor = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    monkeypatch.setattr("foveal.inference.onnx_images.MARGIN", 0)
    monkeypatch.setattr("foveal.inference.onnx_images._CENTRE", 0.0)  # half a pixel to the right and below
    with pytest.raises(InputError, match=r"From files .* differ .* by .* nothing was written"):
        export_model(predictor, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["crop", "pad", "squish"])
def test_points_are_found_in_the_same_pixels_by_the_runner(tmp_path, method):
    class Bright(nn.Module):
        """Answers with the centre of what is bright."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            weight = torch.relu(x.mean(dim=1) - 1).clamp(min=0) * self.scale
            total = weight.sum(dim=(1, 2)).clamp(min=1e-6)
            across = (weight.sum(dim=1) * torch.linspace(-0.984375, 0.984375, 64)).sum(dim=1) / total
            down = (weight.sum(dim=2) * torch.linspace(-0.96875, 0.96875, 32)).sum(dim=1) / total
            return torch.stack([across, down], dim=1)

    predictor = Predictor.of(Bright(), Points(1), Preparation.of((32, 64), method, IMAGENET))
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[50:66, 90:110] = 255
    Image.fromarray(image).save(tmp_path / "spot.png")
    found = export_model(predictor, tmp_path / "points.onnx", images=[image])
    (line,) = run(found.files[2], tmp_path / "spot.png")
    answer = json.loads(line)
    (point,) = answer["points"]
    assert (point["x"], point["y"]) == pytest.approx(predictor.predict(image).label[0], abs=0.01)
    assert (point["x"], point["y"]) == pytest.approx((100, 58), abs=1.5)


def test_heatmaps_and_torch_export(tmp_path):
    torch.manual_seed(0)
    model = build_model(ModelSpec("test_efficientnet", 4, (64, 64), None, "spatial"))
    predictor = Predictor.of(model, Points(2), Preparation.of((64, 64), "squish", IMAGENET))
    found = export_model(predictor, tmp_path / "points.pt2", to="torch-export")
    assert [file.name for file in found.files] == ["points.pt2", "points.pt2.json"]
    program = torch.export.load(found.files[0]).module()
    image = draw_scene(3, 1).image
    pixels = torch.from_numpy(predictor.preparation.image(image).pixels)[None]
    torch.testing.assert_close(program(pixels)[0], predictor.predict(image).values, atol=1e-5, rtol=0)


def test_ratings_are_answered_alike_by_the_runner(tmp_path, foveal):
    predictor = load_learner(GOLDEN / "ratings-1.safetensors")
    said = foveal("export", GOLDEN / "ratings-1.safetensors", "--out", tmp_path / "ratings.onnx").out
    assert "batch of 64: answers differ by at most" in said
    for user, item in ((1, "b"), (3, "d"), (99, "a")):
        (line,) = run(tmp_path / "ratings_runner.py", user, item)
        assert float(line) == pytest.approx(predictor.predict(user, item).label, abs=1e-4)


def test_an_export_whose_answers_differ_is_not_written(tmp_path):
    class Noisy(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3)) + torch.rand(x.shape[0], 3)

    model = nn.Sequential(Noisy(), nn.Linear(3, 3))
    predictor = Predictor.of(model, MultiLabel(Vocab(("a", "b", "c"))), Preparation.of((8, 8), "crop", IMAGENET))
    with pytest.raises(InputError, match=r"differ from the model's by .* nothing was written"):
        export_model(predictor, tmp_path / "model.pt2", to="torch-export")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnknownNameError, match="Did you mean `onnx`"):
        export_model(predictor, tmp_path / "model.onx", to="onx")
    with pytest.raises(InputError, match=r"ends in \.onnx; got"):
        export_model(predictor, tmp_path / "model.json")


@pytest.mark.filterwarnings("ignore:There are 44 items to train on", "ignore:.*deprecated.*", "ignore::FutureWarning")
def test_int8_is_measured_on_validation(scenes, tmp_path, foveal, monkeypatch):
    run, target = tmp_path / "run", tmp_path / "small.onnx"
    settings = ("--images", scenes / "scenes", "--size", 48, "--recipe", "probe", "--epochs", 0, "--out", run)
    foveal("train", scenes / "scenes.csv", *settings)
    assert "the folder of a run" in foveal("export", run / "model.safetensors", "--int8", code=2).err
    monkeypatch.setattr("foveal.runs.int8._MOST_LOST", 2.0)
    printed = foveal("export", run, "--int8", "--out", target).out
    was, now = (float(re.search(pattern, printed)[1]) for pattern in (r"before ([\d.]+);", r"precision ([\d.]+) on"))
    small, large = (float(re.search(pattern, printed)[1]) for pattern in (r"; ([\d.]+) MB", r"MB, before ([\d.]+)"))
    assert small < 0.4 * large
    assert target.stat().st_size / 1e6 == pytest.approx(small, abs=0.06)
    found = predictions_of(run)
    metric = found.task.report_metrics()["mean_average_precision"]
    assert float(metric(found.values, found.targets)) == pytest.approx(was, abs=1e-3)
    runner = runpy.run_path(str(tmp_path / "small_runner.py"))
    answers = [runner["session"].run(None, {"image": runner["read"](str(image))})[0] for image in found.images]
    assert float(metric(torch.from_numpy(np.stack(answers)), found.targets)) == pytest.approx(now, abs=1e-3)
    assert not np.allclose(np.stack(answers), found.values.numpy(), atol=1e-4)  # it is another model


@pytest.mark.parametrize(("task", "worse"), [(MultiLabel(Vocab(("a", "b"))), -0.4), (Points(1), 0.4)])
def test_what_int8_loses_is_told_whatever_way_the_metric_goes(task, worse):
    rng = np.random.default_rng(0)
    if isinstance(task, Points):
        targets = torch.from_numpy(rng.random((30, 1, 2))).float()
        before = targets + 0.1
        found = Predictions([b""] * 30, before, list(before.numpy()), targets, task)
    else:
        targets = torch.from_numpy(rng.integers(0, 2, (30, 2))).float()
        before = torch.from_numpy(rng.random((30, 2))).float() * 0.4 + targets * 0.4
        found = Predictions([b""] * 30, before, [[]] * 30, targets, task)
    after = before + worse if isinstance(task, Points) else 1 - before
    assert int8._compare(found, before, after)[1] > 0.005
    assert int8._compare(found, before, before)[1] == 0
