"""Exports: a model in a format that other programs run, compared with the model itself before it is handed over.

An exported model takes images as they are on the canvas, uint8 [batch, height, width, 3] RGB (of ratings: the numbers
of user and item, int64 [batch, 2]), and gives activated answers: normalisation and activation are inside. Beside it lie
a JSON that says how an image comes onto the canvas and how answers are read, and for ONNX a runner without foveal.
"""

from __future__ import annotations

import importlib.resources
import itertools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from foveal.collab.predictor import RatingPredictor
from foveal.core import lazy, storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import generator_for
from foveal.images.decode import ImageSource
from foveal.images.prepare import collate
from foveal.inference.predictor import Predictor
from foveal.sources.synthetic import draw_scene

BATCHES = (1, 3, 64)
TOLERANCE = 1e-4
_MOST_BATCH, _TRACED = 1 << 16, 2
_DRAWN = 16
Runs = Callable[[Tensor], Tensor]


class Exported(NamedTuple):
    """What was written, and the largest difference to the model's own answers at each size of a batch."""

    files: tuple[Path, ...]
    differences: dict[int, float]


class _Whole(nn.Module):
    """Normalisation, model and activation as one module."""

    def __init__(self, predictor: Predictor | RatingPredictor) -> None:
        super().__init__()
        self.model, self.predictor = predictor.model, predictor

    def forward(self, given: Tensor) -> Tensor:
        """Answer for images uint8 [B, h, w, 3], or for pairs int64 [B, 2]."""
        by = self.predictor
        outputs = self.model(by.preparation.normalise(given) if isinstance(by, Predictor) else given)
        return by.task.activate(outputs)


def export_model(
    predictor: Predictor | RatingPredictor,
    path: str | os.PathLike[str],
    *,
    to: str = "onnx",
    images: Sequence[ImageSource] = (),
) -> Exported:
    """Write a model in another format and its description beside it, if both give the same answers.

    Answers larger than 1 may differ by as much of themselves.

    Args:
        predictor: on the CPU.
        path: of the file, such as model.onnx or model.pt2.
        to: "onnx" or "torch-export".
        images: to compare on; drawn scenes by default.

    Raises:
        UnknownNameError: there is no such format.
        MissingDependencyError: the format's packages are not installed.
        InputError: the answers differ by more than 1e-4; nothing was written then.
    """
    if to not in FORMATS:
        raise UnknownNameError.of("format", to, FORMATS)
    if Path(path).suffix != SUFFIXES[to]:
        raise InputError(f"A model exported to {to} ends in {SUFFIXES[to]}; got `{path}`.")
    target, whole = Path(path), _Whole(predictor).eval()
    inputs = _inputs(predictor, images)
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        file = Path(folder) / target.name
        runs = FORMATS[to](whole, inputs[:_TRACED], file)
        differences = {n: _difference(whole, runs, inputs[:n]) for n in BATCHES}
        if not all(difference <= TOLERANCE for difference in differences.values()):  # NaN is none
            worst = max(differences.values(), key=lambda difference: (math.isnan(difference), difference))
            others = ", ".join(name for name in FORMATS if name != to)
            raise InputError(
                f"The exported model's answers differ from the model's by {worst:.2g}, more than {TOLERANCE:g}; "
                f"nothing was written. Another format may do better: {others}."
            )
        with storage.replacing(target) as beside:
            beside.write_bytes(file.read_bytes())
    described = target.with_name(f"{target.name}.json")
    storage.write_json(described, _description(predictor, target.name, to))
    files = [target, described]
    if to == "onnx":
        files.append(target.with_name(f"{target.stem}_runner.py"))
        kind = "images" if isinstance(predictor, Predictor) else "ratings"
        runner = importlib.resources.files("foveal.inference").joinpath(f"runner_{kind}.txt")
        text = runner.read_text(encoding="utf-8").replace("ABOUT", json.dumps(described.name))
        storage.write_text(files[-1], text)
    return Exported(tuple(files), differences)


def _to_onnx(whole: nn.Module, example: Tensor, file: Path) -> Runs:
    for package in ("onnx", "onnxscript"):
        lazy.require(package, extra="onnx", purpose="Exporting to ONNX")
    onnxruntime = lazy.require("onnxruntime", extra="onnx", purpose="Checking an ONNX file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its exporter
        torch.onnx.export(
            whole,
            (example,),
            file,
            dynamo=True,
            external_data=False,
            dynamic_shapes=(_any_batch(),),
            input_names=["input"],
            output_names=["answers"],
            verbose=False,
        )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda given: torch.from_numpy(session.run(None, {"input": given.numpy()})[0])


def _to_torch_export(whole: nn.Module, example: Tensor, file: Path) -> Runs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(whole, (example,), dynamic_shapes=(_any_batch(),)), file)
        runs: Runs = torch.export.load(file).module()
    return runs


def _any_batch() -> dict[int, Any]:
    return {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}


FORMATS: dict[str, Callable[[nn.Module, Tensor, Path], Runs]] = {"onnx": _to_onnx, "torch-export": _to_torch_export}
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}


def _inputs(predictor: Predictor | RatingPredictor, images: Sequence[ImageSource]) -> Tensor:
    """Return as many inputs as the largest batch has."""
    n = max(BATCHES)
    if isinstance(predictor, RatingPredictor):
        sizes = (len(predictor.task.users), len(predictor.task.items))
        return torch.from_numpy(generator_for(0, 0, 0).integers(0, sizes, (n, 2)))
    chosen = list(images)[:n] or [draw_scene(0, index).image for index in range(_DRAWN)]
    canvases = [predictor.preparation.image(image).pixels for image in chosen]
    return collate(list(itertools.islice(itertools.cycle(canvases), n)))


@torch.inference_mode()
def _difference(whole: nn.Module, runs: Runs, given: Tensor) -> float:
    ours = whole(given)
    return float(((ours - runs(given)).abs() / ours.abs().clamp(min=1)).max())


def _description(predictor: Predictor | RatingPredictor, file: str, to: str) -> dict[str, Any]:
    about: dict[str, Any] = {"file": file, "format": to, "task": predictor.task.to_dict()}
    if isinstance(predictor, RatingPredictor):
        said = "numbers of user and item, counted from 1 in the lists of the task; 0 is unknown"
        return about | {"input": {"name": "input", "type": "int64", "shape": ["batch", 2], "is": said}}
    height, width = predictor.preparation.input_size_hw
    return about | {
        "input": {"name": "input", "type": "uint8", "shape": ["batch", height, width, 3], "is": "RGB, upright"},
        "canvas_hw": [height, width],
        "fit": predictor.preparation.fit.method,
        "names": list(predictor.task.names),
        "answers": _ANSWERS[predictor.task.kind],
    }


_ANSWERS = {
    "multi-label": "a probability a class; a class is found where it passes its threshold of the task's decision",
    "single-label": "a probability a class; the largest is the answer",
    "points": "x and y a point, from -1 to 1 over the canvas",
    "regression": "a number each",
}
