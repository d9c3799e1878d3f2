"""Exports answer as the model does, in a program that knows nothing of foveal."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.exports import BATCHES, TOLERANCE, export_model
from foveal.inference.loading import load_learner
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
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


def test_images_are_answered_alike_by_the_runner(tmp_path, photographs):
    predictor = load_learner(GOLDEN / "images-1.safetensors", device="cpu")
    files = sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:64]
    found = export_model(predictor, tmp_path / "model.onnx", images=files)
    assert set(found.differences) == set(BATCHES) == {1, 3, 64}
    assert max(found.differences.values()) <= TOLERANCE
    assert [file.name for file in found.files] == ["model.onnx", "model.onnx.json", "model_runner.py"]
    assert len(found.files[2].read_text().splitlines()) <= 40
    answers = [json.loads(line) for line in run(found.files[2], *files[:16])]
    assert [answer.pop("fname") for answer in answers] == [str(file) for file in files[:16]]
    theirs = torch.tensor([list(answer.values()) for answer in answers])
    ours = torch.stack([predictor.predict(file).values for file in files[:16]])
    shuffled = (theirs - ours.roll(1, dims=0)).abs().mean()
    assert (theirs - ours).abs().mean() < 0.2 * shuffled  # Pillow resizes a little otherwise


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
    assert (answer["x"], answer["y"]) == pytest.approx((100, 58), abs=1.5)
    assert predictor.predict(image).label[0] == pytest.approx((100, 58), abs=1.5)


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
