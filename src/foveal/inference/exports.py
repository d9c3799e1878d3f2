"""Exports: a model in a format that other programs run, compared with the model itself before it is handed over.

An exported model takes images brought to its input size, uint8 [batch, height, width, channels], and gives activated
answers: normalisation and activation are inside. Another kind of task exports what its exporter says. Beside it lie a
JSON that says how an image comes onto the canvas and how answers are read, and for ONNX a runner without foveal.
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
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from foveal.core import lazy, storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.registry import resolve
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource
from foveal.images.prepare import collate
from foveal.inference.predictor import AnyPredictor, Predictor
from foveal.sources.synthetic import draw_scene
from foveal.tasks.kinds import kind_of

BATCHES = (1, 3, 64)
TOLERANCE = 1e-4
_MOST_BATCH = 1 << 16  # images or pairs at once; a bound that torch.export needs
_TRACED = 2  # of the example: with one, torch.export takes the batch's size for a constant
_DRAWN = 16
_CHANNELS = {1: "grey", 3: "RGB", 4: "four channels, not composited"}
_NUMPY_PADS = {"reflection": "symmetric", "border": "edge", "zeros": "constant"}
Runs = Callable[[Tensor], Tensor]


class Exported(NamedTuple):
    """What was written, and the largest difference to the model's own answers at each size of a batch."""

    files: tuple[Path, ...]
    differences: dict[int, float]


class Exporter(Protocol):
    """What an export asks of a kind of predictor; made of the predictor, see `TaskKind.exporter`."""

    runner: str
    """A program that answers without foveal; ABOUT in it becomes the name of the description."""

    def prepare(self, given: Tensor) -> Tensor:
        """Return what the model takes for the inputs of the exported one."""

    def inputs(self, n: int, images: Sequence[ImageSource]) -> Tensor:
        """Return `n` inputs to compare answers on, made of `images` where those mean something.

        Args:
            n: how many.
            images: of the user; none perhaps.

        Returns:
            What the exported model takes, [n, ...].
        """

    def describe(self) -> dict[str, object]:
        """Return what the description says of inputs and answers."""


class _Whole(nn.Module):
    """What precedes the model, the model and activation as one module."""

    def __init__(self, predictor: AnyPredictor, exporter: Exporter) -> None:
        super().__init__()
        self.model, self.predictor, self.exporter = predictor.model, predictor, exporter

    def forward(self, given: Tensor) -> Tensor:
        """Answer for inputs [B, ...]."""
        return self.predictor.task.activate(self.model(self.exporter.prepare(given)))


class ImageExporter:
    """Exports a model of images: inputs uint8 [B, h, w, C], normalised inside."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        runner = importlib.resources.files("foveal.inference").joinpath("runner_images.txt")
        self.runner = runner.read_text(encoding="utf-8")

    def prepare(self, given: Tensor) -> Tensor:
        """Normalise."""
        return self.predictor.preparation.normalise(given)

    def inputs(self, n: int, images: Sequence[ImageSource]) -> Tensor:
        """Return images as they come to the model, drawn ones where none are given.

        Args:
            n: how many; few images are repeated.
            images: of the user.

        Returns:
            uint8 [n, h, w, C].
        """
        sources = list(images)[:n] or [_drawn(index, self.predictor.preparation.n_channels) for index in range(_DRAWN)]
        prepared = [self.predictor.preparation.image(source).pixels for source in sources]
        return collate(list(itertools.islice(itertools.cycle(prepared), n)))

    def describe(self) -> dict[str, object]:
        """Return the input's size, how an image comes to it, and what the answers are."""
        (height, width), n = self.predictor.preparation.input_size_hw, self.predictor.preparation.n_channels
        is_what = f"{_CHANNELS[n]}, upright"
        return {
            "input": {"name": "input", "type": "uint8", "shape": ["batch", height, width, n], "is": is_what},
            "canvas_hw": [height, width],  # the name that runners of version 0.1 read
            "fit": self.predictor.preparation.fit.method,
            "pad": _NUMPY_PADS[self.predictor.preparation.fit.pad_mode],
            "names": list(self.predictor.task.names),
            "answers": kind_of(self.predictor.task).answers,
        } | _not_exported(self.predictor)


def _not_exported(predictor: Predictor) -> dict[str, object]:
    """Return what the predictor answers and the exported model does not, for its description."""
    if not predictor.task.decision.radius_factors:
        return {}
    return {"not_exported": "the radius of points: it is made of the heatmaps, of which the answers are the centres"}


def _drawn(index: int, n_channels: int) -> ImageSource:
    """Return a drawn image that can be read with so many channels; its fourth is its third, upside down."""
    image = draw_scene(0, index).image
    if n_channels <= RGB:
        return image
    pixels = np.asarray(image)
    return np.concatenate([pixels, pixels[::-1, :, -1:]], axis=2)


def export_model(
    predictor: AnyPredictor,
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
    reference = kind_of(predictor.task).exporter
    make: Callable[[Any], Exporter] = ImageExporter if reference is None else resolve(reference)
    exporter = make(predictor)
    target, whole = Path(path), _Whole(predictor, exporter).eval()
    inputs = exporter.inputs(max(BATCHES), images)
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        file = Path(folder) / target.name
        runs = FORMATS[to](whole, inputs[:_TRACED], file)
        differences = {n: _difference(whole, runs, inputs[:n]) for n in BATCHES}
        if not all(difference <= TOLERANCE for difference in differences.values()):  # NaN must fail too
            worst = max(differences.values(), key=lambda difference: (math.isnan(difference), difference))
            others = ", ".join(name for name in FORMATS if name != to)
            raise InputError(
                f"The exported model's answers differ from the model's by {worst:.2g}, more than {TOLERANCE:g}; "
                f"nothing was written. Another format may do better: {others}."
            )
        with storage.replacing(target) as beside:
            beside.write_bytes(file.read_bytes())
    described = target.with_name(f"{target.name}.json")
    about = {"file": target.name, "format": to, "task": predictor.task.to_dict()}
    storage.write_json(described, about | exporter.describe())
    files = [target, described]
    if to == "onnx":
        files.append(target.with_name(f"{target.stem}_runner.py"))
        storage.write_text(files[-1], exporter.runner.replace("ABOUT", json.dumps(described.name)))
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


def _any_batch() -> dict[int, torch.export.Dim]:
    return {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}


FORMATS: dict[str, Callable[[nn.Module, Tensor, Path], Runs]] = {"onnx": _to_onnx, "torch-export": _to_torch_export}
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}


@torch.inference_mode()
def _difference(whole: nn.Module, runs: Runs, given: Tensor) -> float:
    ours = whole(given)
    return float(((ours - runs(given)).abs() / ours.abs().clamp(min=1)).max())
