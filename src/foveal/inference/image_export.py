"""What an export of a model of images takes and gives, and how its answers from files are compared."""

from __future__ import annotations

import importlib.resources
import itertools
import math
import os
import runpy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from foveal.core.errors import ImageError
from foveal.images.channels import RGB
from foveal.images.decode import ImageSource, decode, open_image
from foveal.images.prepare import collate
from foveal.inference.exports import DISTANCE_OUTPUT, FileComparison
from foveal.inference.predictor import Predictor
from foveal.sources.synthetic import draw_scene
from foveal.tasks.kinds import kind_of

_DRAWN_WH = ((320, 240), (150, 200), (1280, 960))
"""Sizes of drawn images: about usual inputs, smaller and much larger. As many of each are drawn."""
_DRAWN_OF_EACH = 6
_MOST_FILES = 500
_CHANNELS = {1: "grey", RGB: "RGB", 4: "four channels, not composited"}
_NUMPY_PADS = {"reflection": "symmetric", "border": "edge", "zeros": "constant"}


class ImageExporter:
    """Exports a model of images: batches uint8 [B, h, w, C], or one decoded image uint8 [H, W, C] of any size."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        runner = importlib.resources.files("foveal.inference").joinpath("runner_images.txt")
        self.runner = runner.read_text(encoding="utf-8")

    def prepare(self, given: Tensor) -> Tensor:
        """Return the images of a batch, normalised."""
        return self.predictor.preparation.normalise(given)

    def inputs(self, n: int, images: Sequence[ImageSource]) -> Tensor:
        """Return images as they come to the model, drawn ones where none are given.

        Args:
            n: how many; few images are repeated.
            images: of the user.

        Returns:
            uint8 [n, h, w, C].
        """
        n_channels = self.predictor.preparation.n_channels
        sources = list(images)[:n] or [_drawn(at, _DRAWN_WH[0], n_channels) for at in range(_DRAWN_OF_EACH)]
        prepared = [self.predictor.preparation.image(source).pixels for source in sources]
        return collate(list(itertools.islice(itertools.cycle(prepared), n)))

    def describe(self) -> dict[str, object]:
        """Return the input's size, how an image comes to it, and what the answers are."""
        (height, width), n = self.predictor.preparation.input_size_hw, self.predictor.preparation.n_channels
        return self._answers() | {
            "input": {"name": "input", "type": "uint8", "shape": ["batch", height, width, n], "is": self._pixels()},
            "fit": self.predictor.preparation.fit.method,
            "pad": _NUMPY_PADS[self.predictor.preparation.fit.pad_mode],
        }

    def finish(self, file: Path) -> dict[str, object]:
        """Put what precedes and follows the model into its ONNX file.

        Args:
            file: for batches; it is written anew, for one image, with the description in its metadata.

        Returns:
            What the description tells of it.
        """
        from foveal.inference.onnx_images import take_decoded_images

        shape = ["height", "width", self.predictor.preparation.n_channels]
        taken = {"name": "image", "type": "uint8", "shape": shape, "is": self._pixels()}
        about = self._answers() | self._distance() | {"input": taken}
        in_image = kind_of(self.predictor.task).has_points
        if in_image:
            about["answers"] = "x and y per point, in pixels of the image"
        take_decoded_images(file, self.predictor.preparation.fit, about, in_image=in_image)
        return about

    def compare(self, runner: Path, images: Sequence[ImageSource]) -> FileComparison:
        """Compare answers from files, from the reading of their bytes to labels.

        Args:
            runner: the program, beside the model.
            images: of the user, of which 500 are taken; drawn ones of several sizes where none are given.

        Returns:
            By how much the answers differ at most, NaN where all were refused, and how many labels are others.
        """
        answer_for, in_pixels = runpy.run_path(str(runner))["answer"], kind_of(self.predictor.task).has_points
        n, difference, n_other_labels, refused = 0, 0.0, 0, dict[str, str]()
        with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
            for file in _files(images, Path(folder), self.predictor.preparation.n_channels):
                try:
                    found = self.predictor.predict(file)
                except ImageError:
                    continue
                ours: Mapping[str, Any] = self.predictor.task.to_json(found.values, found.label)
                try:
                    theirs: Mapping[str, Any] = answer_for(file)
                except (OSError, ValueError, SyntaxError) as error:  # what Pillow and the runner raise
                    refused[os.fspath(file)] = str(error)
                    continue
                n += 1
                first, second = (np.array(list(_numbers(answer))) for answer in (ours, theirs))
                unit = max(open_image(file).size_hw) if in_pixels else np.maximum(np.abs(first), 1)
                difference = max(difference, float((np.abs(first - second) / unit).max()))
                n_other_labels += ours.get("labels") != theirs.get("labels")
        return FileComparison(n, difference if n else math.nan, n_other_labels, refused, not images)

    def _pixels(self) -> str:
        return f"{_CHANNELS[self.predictor.preparation.n_channels]}, upright"

    def _distance(self) -> dict[str, object]:
        """Return what the second output is and what is known by it; nothing of a model that cannot tell."""
        within = self.predictor.training.known_within
        if within is None or self.predictor.territory is None:
            return {}
        return {"known_within": within, DISTANCE_OUTPUT: "how far the features are from those of known images"}

    def _answers(self) -> dict[str, object]:
        """Return what the answers are; the radius of points is not among them."""
        task, kind = self.predictor.task, kind_of(self.predictor.task)
        names = getattr(task, "point_names", ()) if kind.has_points else task.names
        thresholds = list(task.decision.thresholds) if kind.has_thresholds else []
        about: dict[str, object] = {"gives": kind.gives, "names": list(names), "thresholds": thresholds}
        about["answers"] = kind.answers
        if task.decision.set_threshold is not None:
            about["set_threshold"] = task.decision.set_threshold
        if task.decision.radius_factors:
            about["not_exported"] = (
                "the radius of points: it is made of the heatmaps, of which the answers are the centres"
            )
        return about


def _drawn(index: int, size_wh: tuple[int, int], n_channels: int) -> Image.Image:
    """Return a drawn image that can be read with so many channels; its fourth is its third, upside down."""
    image = draw_scene(0, index, size_wh=size_wh).image
    if n_channels > RGB:
        image.putalpha(image.getchannel("B").transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    return image


def _files(images: Sequence[ImageSource], folder: Path, n_channels: int) -> Iterator[str | os.PathLike[str]]:
    """Yield images as files: what is no file is written into a folder."""
    if not images:
        suffix = "png" if n_channels > RGB else "jpg"
        for at, size_wh in itertools.product(range(_DRAWN_OF_EACH), _DRAWN_WH):
            file = folder / f"{at}-{size_wh[0]}.{suffix}"
            _drawn(at, size_wh, n_channels).save(file)
            yield file
    for at, image in enumerate(images[:_MOST_FILES]):
        if isinstance(image, str | os.PathLike) and Path(image).is_file():
            yield image
            continue
        file = folder / f"{at}.png"
        pixels = decode(image, n_channels)
        Image.fromarray(pixels[..., 0] if n_channels == 1 else pixels).save(file)
        yield file


def _numbers(answer: object) -> Iterator[float]:
    """Yield the numbers of an answer, in order; names and labels are left out."""
    if isinstance(answer, Mapping):
        for value in answer.values():
            yield from _numbers(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from _numbers(value)
    elif isinstance(answer, int | float) and not isinstance(answer, bool):
        yield float(answer)
