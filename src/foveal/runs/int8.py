"""A model in whole numbers of 8 bits: a quarter of the size, if it does about as well on the validation images.

The scales of activations are chosen on training images (static quantisation of onnxruntime, weights channel by
channel); how an image is brought to the input stays as it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import runpy
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from foveal.core import lazy, progress, storage
from foveal.core.errors import InputError
from foveal.evaluation.predictions import Predictions
from foveal.images.decode import ImageSource
from foveal.inference.exports import Exported, export_model
from foveal.inference.loading import load_image_predictor
from foveal.inference.predictor import Predictor
from foveal.metrics.common import require_direction
from foveal.runs import folder as files

_CALIBRATION = 200  # training images that scales are chosen on; chosen by hand
# Measured on 300 photographs of VOC with EfficientNet-Lite0: mean average precision .520 in 32 bits, .439 with the head
# in 8 bits too, .504 with convolutions alone, .511 where a ten-thousandth of the activations is cut off.
_QUANTISED = ("Conv",)
_PERCENTILE = 99.99
_MOST_LOST = 0.005  # of the headline metric; of an error, that share of it
_TIMED = 30  # images that both models are timed on, in turn


class Quantised(NamedTuple):
    """What was written, and how it compares.

    Attributes:
        exported: the files.
        metric: the headline metric.
        before: its value on the validation images.
        after: the same in 8 bits.
        n: validation images.
        n_bytes: of the model's file before and after.
        seconds: of one image before and after, from its pixels to its answer.
    """

    exported: Exported
    metric: str
    before: float
    after: float
    n: int
    n_bytes: tuple[int, int]
    seconds: tuple[float, float]

    def __str__(self) -> str:
        (large, small), (slow, quick) = self.n_bytes, self.seconds
        return (
            f"int8: {self.metric.replace('_', ' ')} {self.after:.4f} on {self.n:,} validation images, before "
            f"{self.before:.4f}; {small / 1e6:.1f} MB, before {large / 1e6:.1f}; {1000 * quick:.1f} ms per image, "
            f"before {1000 * slow:.1f}"
        )


def export_int8(run: Path, target: Path) -> Quantised:
    """Write the model of a run as ONNX in whole numbers of 8 bits.

    Args:
        run: the folder of a run on images, whose images are still there.
        target: the file.

    Returns:
        The file, and the headline metric, size and seconds per image before and after.

    Raises:
        InputError: the headline metric loses more than .005; nothing was written then.
        MissingDependencyError: onnxruntime is not installed.
    """
    predictor, found = load_image_predictor(run / files.MODEL, device="cpu"), files.predictions_of(run)
    calibration = _training_images(run)
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        plain = Path(folder) / "plain.onnx"
        export_model(predictor, plain, images=found.images[:16])
        small = Path(folder) / target.name
        exported = export_model(
            predictor, small, images=found.images[:16], quantise=lambda file: _quantise(file, predictor, calibration)
        )
        runners = [runpy.run_path(str(file.with_name(f"{file.stem}_runner.py"))) for file in (plain, small)]
        before, after = (_answers(runner, found) for runner in runners)
        name, lost, (was, now) = _compare(found, before, after)
        if not lost <= _MOST_LOST:
            raise InputError(
                f"In 8 bits {name.replace('_', ' ')} is {now:.4f} on {len(found.images):,} validation images, and "
                f"{was:.4f} before: more than {_MOST_LOST:g} is lost, so nothing was written. Leave out --int8."
            )
        seconds = _seconds(runners, found.images)
        n_bytes = plain.stat().st_size, small.stat().st_size
        for one in exported.files:
            with storage.replacing(target.with_name(one.name)) as beside:
                beside.write_bytes(one.read_bytes())
    written = exported._replace(files=tuple(target.with_name(one.name) for one in exported.files))
    return Quantised(written, name, was, now, len(found.images), n_bytes, seconds)


def _training_images(run: Path) -> list[Path]:
    images = files.sides_of(run)["train"]
    return [images[at] for at in np.linspace(0, len(images) - 1, min(_CALIBRATION, len(images))).astype(int)]


class _Calibration:
    """What onnxruntime asks for inputs, one after the other; None at the end."""

    def __init__(self, predictor: Predictor, images: Iterator[ImageSource]) -> None:
        self._predictor, self._images = predictor, images

    def get_next(self) -> Mapping[str, object] | None:
        image = next(self._images, None)
        return None if image is None else {"input": self._predictor.preparation.image(image).pixels[None]}


def _quantise(file: Path, predictor: Predictor, calibration: Sequence[ImageSource]) -> None:
    """Replace an ONNX file for batches by one in whole numbers."""
    quantization = lazy.require("onnxruntime.quantization", extra="onnx", purpose="Exporting to int8")
    steps = lazy.require("onnxruntime.quantization.shape_inference", extra="onnx", purpose="Exporting to int8")
    fused, out = file.with_suffix(".fused"), file.with_suffix(".int8")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises what is done here
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            steps.quant_pre_process(file, fused, skip_symbolic_shape=True)  # normalisation goes into convolutions
            quantization.quantize_static(
                fused,
                out,
                _Calibration(predictor, iter(calibration)),
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": _PERCENTILE},
            )
    finally:
        logging.getLogger().setLevel(level)
    out.replace(file)
    fused.unlink()


def _answers(runner: Mapping[str, Any], found: Predictions) -> torch.Tensor:
    """Return what an exported model answers, comparable with the targets."""
    session, read = runner["session"], runner["read"]
    values = []
    with progress.Bar("answering", len(found.images)) as bar:
        for image in found.images:
            values.append(session.run(None, {"image": read(image)})[0])
            bar.advance()
    return torch.from_numpy(np.stack(values)).to(found.comparable.dtype)


def _compare(found: Predictions, before: torch.Tensor, after: torch.Tensor) -> tuple[str, float, tuple[float, float]]:
    """Return the headline metric, how much of it is lost, and its values."""
    name, metric = next(iter(found.task.report_metrics().items()))
    was, now = (float(metric(answers, found.targets)) for answers in (before, after))
    lost = was - now if require_direction(metric, name) else (now - was) / max(was, 1e-9)
    return name, lost, (was, now)


def _seconds(runners: Sequence[Mapping[str, Any]], images: Sequence[ImageSource]) -> tuple[float, float]:
    """Return the median seconds of an image for two exported models, which answer in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for image in images[:_TIMED]:
        pixels = runners[0]["read"](image)
        for runner, taken in zip(runners, times, strict=True):
            began = time.perf_counter()
            runner["session"].run(None, {"image": pixels})
            taken.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])
