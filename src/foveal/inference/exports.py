"""Exports: a model in a format that other programs run, compared with the model itself before it is handed over.

An ONNX model of images takes one decoded image of any size, uint8 [height, width, channels], and gives what a person
asks for: resizing, normalisation, activation, and points in the image's own pixels are inside; class names and
thresholds lie in its metadata. The other formats take batches of images that were brought to the input's size. Another
kind of task exports what its exporter says. Beside a model lie a JSON that says what it takes and gives, and for ONNX a
runner without foveal.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from foveal.core import lazy, storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.registry import resolve
from foveal.images.decode import ImageSource
from foveal.inference.predictor import AnyPredictor
from foveal.inference.signals import noting_features
from foveal.inference.territory import Territory
from foveal.tasks.kinds import kind_of

BATCHES = (1, 3, 64)
TOLERANCE = 1e-4
FILE_TOLERANCE = 1e-3
"""Of answers from files, whose decoder and resizing are another program's too."""
_MOST_BATCH = 1 << 16  # images or pairs at once; a bound that torch.export needs
_TRACED = 2  # of the example: with one, torch.export takes the batch's size for a constant
Runs = Callable[[Tensor], Sequence[Tensor]]
DISTANCE_OUTPUT = "distance"
"""What the second output of an ONNX model is called, where it can tell what it does not know."""


class FileComparison(NamedTuple):
    """How answers from files differ between the runner and foveal.

    Attributes:
        n: files that both answered for.
        difference: the largest difference of an answer; of points in shares of the image's longer side.
        n_other_labels: files with other labels.
        refused: what the runner refuses and foveal does not, with its reason.
        are_drawn: whether the images were drawn, as none were given.
    """

    n: int
    difference: float
    n_other_labels: int
    refused: dict[str, str]
    are_drawn: bool

    def __str__(self) -> str:
        what = "drawn images (--images: yours)" if self.are_drawn else "images"
        labels = f"{self.n_other_labels} with other labels" if self.n_other_labels else "all labels are the same"
        allowed = f"(allowed: {FILE_TOLERANCE:g})"
        lines = [
            f"{self.n} {what}, from file to labels: answers differ by at most {self.difference:.1e} {allowed}; {labels}"
        ]
        lines += [f"the runner refuses {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


class Exported(NamedTuple):
    """What was written, and how it was compared.

    Attributes:
        files: that were written.
        differences: the largest difference to the model's own answers at each size of a batch.
        from_files: how answers from files differ; None where the export does not read files.
    """

    files: tuple[Path, ...]
    differences: dict[int, float]
    from_files: FileComparison | None = None


class Exporter(Protocol):
    """What an export asks of a kind of predictor; made of the predictor, see `TaskKind.exporter`."""

    runner: str
    """A program that answers without foveal; MODEL and ABOUT in it become the names of the model and its JSON."""

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
        """Return what the description says of inputs and answers of a batch."""

    def finish(self, file: Path) -> dict[str, object]:
        """Make an ONNX file for batches one that takes what a user has; return what its description says then."""

    def compare(self, runner: Path, images: Sequence[ImageSource]) -> FileComparison | None:
        """Compare answers from files.

        Args:
            runner: the program, beside the model.
            images: of the user; none perhaps.
        """


class _Whole(nn.Module):
    """What precedes the model, the model and activation as one module."""

    def __init__(self, predictor: AnyPredictor, exporter: Exporter, *, with_distance: bool) -> None:
        super().__init__()
        self.model, self.predictor, self.exporter = predictor.model, predictor, exporter
        can_tell = with_distance and predictor.training.known_within is not None
        self.territory: Territory | None = getattr(predictor, "territory", None) if can_tell else None

    def forward(self, given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the answers for inputs [B, ...], and where it can be told how far each is from what is known, [B]."""
        territory = self.territory
        with noting_features(None if territory is None else self.model) as features:
            answers = self.predictor.task.activate(self.model(self.exporter.prepare(given)))
        return answers if territory is None else (answers, territory.distances(features[0]))


@dataclass(frozen=True, slots=True)
class Format:
    """A format that models are exported to.

    Attributes:
        suffix: of its files.
        write: a function of (module, example, file) that writes a file for batches and returns what runs it.
        is_finished: whether the file then takes what a user has, and a runner is written beside it.
    """

    suffix: str
    write: Callable[[nn.Module, Tensor, Path], Runs]
    is_finished: bool = False


def export_model(
    predictor: AnyPredictor,
    path: str | os.PathLike[str],
    *,
    to: str = "onnx",
    images: Sequence[ImageSource] = (),
    quantise: Callable[[Path], None] | None = None,
) -> Exported:
    """Write a model in another format and its description beside it, if both give the same answers.

    Answers larger than 1 may differ by as much of themselves.

    Args:
        predictor: on the CPU.
        path: of the file, such as model.onnx or model.pt2.
        to: "onnx"; "onnx-batch" or "torch-export" for batches of images that were resized before.
        images: to compare on; drawn scenes by default.
        quantise: a function that replaces the ONNX file for batches by one that answers a little otherwise; what it
            costs is then for the caller to measure, and nothing is refused here.

    Returns:
        The files, and by how much answers differ from the model's: of a batch, and from files where images are read
        too.

    Raises:
        UnknownNameError: there is no such format.
        MissingDependencyError: the format's packages are not installed.
        InputError: the answers differ, of a batch by more than 1e-4, from files by more than 1e-3; nothing was written
            then.
    """
    if to not in FORMATS:
        raise UnknownNameError.of("format", to, FORMATS)
    form, target = FORMATS[to], Path(path)
    if target.suffix != form.suffix:
        raise InputError(f"A model exported to {to} ends in {form.suffix}; got `{path}`.")
    reference = kind_of(predictor.task).exporter or "foveal.inference.image_export:ImageExporter"
    exporter: Exporter = resolve(reference)(predictor)
    whole = _Whole(predictor, exporter, with_distance=form.is_finished).eval()
    inputs = exporter.inputs(max(BATCHES), images)
    about: dict[str, Any] = {"file": target.name, "format": to, "task": predictor.task.to_dict()}
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        file = Path(folder) / target.name
        runs = form.write(whole, inputs[:_TRACED], file)
        differences = {n: _difference(whole, runs, inputs[:n]) for n in BATCHES}
        if quantise is not None:
            quantise(file)
        worst = max(differences.values(), key=lambda difference: (math.isnan(difference), difference))
        if not worst <= TOLERANCE:  # NaN must fail too
            raise _differ(to, f"The exported model's answers differ from the model's by {worst:.2g}", TOLERANCE)
        written, compared = [file], None
        described = file.with_name(f"{file.name}.json")
        storage.write_json(described, about | (exporter.finish(file) if form.is_finished else exporter.describe()))
        written.append(described)
        if form.is_finished:
            runner = file.with_name(f"{file.stem}_runner.py")
            text = exporter.runner.replace("MODEL", json.dumps(file.name)).replace("ABOUT", json.dumps(described.name))
            storage.write_text(runner, text)
            written.append(runner)
            compared = exporter.compare(runner, images)
        if compared is not None and quantise is None and not compared.difference <= FILE_TOLERANCE:
            differ = f"From files the exported model's answers differ from the model's by {compared.difference:.2g}"
            raise _differ(to, differ, FILE_TOLERANCE)
        for one in written:
            with storage.replacing(target.with_name(one.name)) as beside:
                beside.write_bytes(one.read_bytes())
    return Exported(tuple(target.with_name(one.name) for one in written), differences, compared)


def _differ(to: str, begin: str, most: float) -> InputError:
    others = ", ".join(name for name in FORMATS if name != to)
    return InputError(f"{begin}, more than {most:g}; nothing was written. Another format may do better: {others}.")


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
            output_names=["answers", DISTANCE_OUTPUT][: len(_outputs(whole(example)))],
            verbose=False,
        )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda given: [torch.from_numpy(one) for one in session.run(None, {"input": given.numpy()})]


def _to_torch_export(whole: nn.Module, example: Tensor, file: Path) -> Runs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(whole, (example,), dynamic_shapes=(_any_batch(),)), file)
        program = torch.export.load(file).module()
    return lambda given: _outputs(program(given))


def _outputs(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def _any_batch() -> dict[int, torch.export.Dim]:
    return {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}


FORMATS = {
    "onnx": Format(".onnx", _to_onnx, is_finished=True),
    "onnx-batch": Format(".onnx", _to_onnx),
    "torch-export": Format(".pt2", _to_torch_export),
}


@torch.inference_mode()
def _difference(whole: nn.Module, runs: Runs, given: Tensor) -> float:
    pairs = zip(_outputs(whole(given)), runs(given), strict=True)
    return max(float(((ours - theirs).abs() / ours.abs().clamp(min=1)).max()) for ours, theirs in pairs)
