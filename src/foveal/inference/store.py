"""One .safetensors file holds a bundle: the tensors, and the manifest in its metadata. Reading it runs no code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pydantic
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.core import storage
from foveal.core.errors import InputError, ModelFileError
from foveal.inference.manifest import FORMAT, Manifest
from foveal.inference.reference import check_reference
from foveal.inference.territory import Territory
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import task_from_dict

_KEY = "foveal"
"""The manifest in the metadata of the file."""
_HASH_KEY = "foveal_sha256"
"""The manifest's SHA-256, beside it."""
_VALIDATION = "validation/"
"""Before the names of what is kept of validation among the tensors, which no module can have."""
_CENTRE, _AXES = f"{_VALIDATION}centre", f"{_VALIDATION}axes"
_MAX_HEADER_BYTES = 64 << 20
"""A header has about 100 bytes per tensor and the manifest; chosen by hand, far above both."""
_MAGIC = {b"PK\x03\x04": "a zip archive (torch's own format?)", b"\x80": "a pickle", b"\x1f\x8b": "a gzip archive"}


def write_bundle(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write a bundle, atomically.

    Args:
        path: of the file, .safetensors.
        tensors: a state dict.
        manifest: describes them.
    """
    text = manifest.model_dump_json()
    storage.write_tensors(path, tensors, {_KEY: text, _HASH_KEY: _hash(text)})


def bundle_name(path: Path) -> str:
    """Return what a model is called: as its file or, where that is just `model`, as its folder."""
    return path.stem if path.stem != "model" else path.absolute().parent.name


def hashes_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the hash of each tensor, as the manifest holds it."""
    return {name: storage.tensor_hash(tensor) for name, tensor in tensors.items()}


class ValidationAnswers(NamedTuple):
    """What a model answered for the images that its figures are of, so that other thresholds have figures of their own.

    Attributes:
        outputs: raw outputs [n, C].
        targets: encoded labels [n] or [n, C].
    """

    outputs: Tensor
    targets: Tensor


def validation_tensors(answers: ValidationAnswers | None, territory: Territory | None) -> dict[str, Tensor]:
    """Return what is kept of validation by its names in a bundle; see `Bundle`."""
    answered = {} if answers is None else answers._asdict()
    places = {} if territory is None else {_CENTRE: territory.centre, _AXES: territory.axes}
    tensors = {f"{_VALIDATION}{name}": one for name, one in answered.items()} | places
    return {name: one for name, one in tensors.items() if one is not None}


class Bundle(NamedTuple):
    """What a bundle holds.

    Attributes:
        manifest: describes the rest.
        task: that the manifest describes.
        tensors: the model's, by name.
        validation: what it answered on its validation images.
        territory: where the features of known images lie.
    """

    manifest: Manifest
    task: AnyTask
    tensors: dict[str, Tensor]
    validation: ValidationAnswers | None = None
    territory: Territory | None = None


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Return what a bundle holds, checked.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.
    """
    file = Path(path)
    manifest, task = _read_description(file)
    try:
        with safe_open(file, framework="pt") as stored:
            names = stored.keys()
            tensors = {name: stored.get_tensor(name).clone() for name in names}  # the file may change under a view
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damage_error(file, error) from error
    _check_tensors(file, manifest, tensors)
    territory = _territory_of(file, tensors.pop(_CENTRE, None), tensors.pop(_AXES, None))
    kept = {
        name.removeprefix(_VALIDATION): tensors.pop(name)
        for name in names
        if name.startswith(_VALIDATION) and name in tensors
    }
    return Bundle(manifest, task, tensors, _validation_of(file, task, kept), territory)


def _territory_of(file: Path, centre: Tensor | None, axes: Tensor | None) -> Territory | None:
    if centre is None and axes is None:
        return None
    if centre is None or centre.ndim != 1 or (axes is not None and (axes.ndim != 2 or axes.shape[1] != len(centre))):
        shapes = [None if one is None else list(one.shape) for one in (centre, axes)]
        raise ModelFileError(f"`{file}` does not say where features lie: their mean and axes have the shapes {shapes}.")
    return Territory(centre, axes)


def _validation_of(file: Path, task: AnyTask, kept: dict[str, Tensor]) -> ValidationAnswers | None:
    if not kept:
        return None
    if set(kept) != set(ValidationAnswers._fields):
        raise ModelFileError(f"The validation answers of `{file}` are not whole: it has {', '.join(sorted(kept))}.")
    found, like = ValidationAnswers(**kept), task.missing_target
    n = len(found.outputs)
    if found.outputs.shape != (n, task.n_outputs) or found.targets.shape != (n, *like.shape):
        raise ModelFileError(f"The validation answers of `{file}` are not those of its task.")
    return found


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Return the manifest of a bundle, checked; its tensors are not read.

    Raises:
        ModelFileError: as `read_bundle`, but for the tensors.
    """
    return _read_description(Path(path))[0]


def _read_description(file: Path) -> tuple[Manifest, AnyTask]:
    if not file.is_file():
        hint = (
            f" It is a folder; `{file / 'model.safetensors'}` is in it."
            if (file / "model.safetensors").is_file()
            else ""
        )
        raise ModelFileError(f"There is no model file `{file}`.{hint}")
    try:
        header = json.loads(_header(file), object_pairs_hook=_refuse_duplicates)
        stored = dict(header.get("__metadata__") or {})
        text = stored.get(_KEY)
        if text is not None and stored.get(_HASH_KEY) != _hash(text):
            raise ModelFileError(f"`{file}` was changed or damaged: its manifest is not the one exported.")
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise error if isinstance(error, ModelFileError) else _damage_error(file, error) from error
    manifest = _parse_manifest(file, text)
    try:
        task = task_from_dict(manifest.task)
        if (reference := manifest.training.reference) is not None:
            check_reference(reference, task)
    except (InputError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"The manifest of `{file}` does not describe a task: {error}") from error
    return manifest, task


def _header(file: Path) -> bytes:
    """Return the JSON that a .safetensors file begins with; its length is checked before it is read.

    Raises:
        ModelFileError: it is a pickle or another format than safetensors.
        ValueError: its length is longer than the file, or than a header may be.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        n_bytes = int.from_bytes(start, "little")
        if n_bytes <= size - 8 and n_bytes <= _MAX_HEADER_BYTES:
            return opened.read(n_bytes)
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            raise ModelFileError(
                f"`{file}` is {name}, which could run code when loaded. foveal loads only its own .safetensors: "
                "load the model where it was made and write it with `learn.export('model.safetensors')`."
            )
    raise ValueError(f"its header would have {n_bytes:,} bytes")


def _refuse_duplicates(pairs: list[tuple[str, storage.Json]]) -> dict[str, storage.Json]:
    """Return a JSON object in which no name occurs twice, for readers differ in which one they take.

    Raises:
        ValueError: a name occurs twice.
    """
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _damage_error(file: Path, error: Exception) -> ModelFileError:
    return ModelFileError(f"`{file}` is no safetensors file, or is damaged ({error}).")


def _parse_manifest(file: Path, text: str | None) -> Manifest:
    if text is None:
        raise ModelFileError(
            f"`{file}` holds tensors but no foveal manifest: it is no bundle. Weights of a backbone go "
            "in with weights=."
        )
    try:
        stored = json.loads(text, object_pairs_hook=_refuse_duplicates)
        newer = isinstance(stored, dict) and isinstance(stored.get("format"), int) and stored["format"] > FORMAT
        if newer:
            raise ModelFileError(
                f"`{file}` has bundle format {stored['format']}; this foveal reads up to {FORMAT}. "
                "Install a newer one: pip install --upgrade foveal"
            )
        return Manifest.model_validate(stored)
    except pydantic.ValidationError as error:
        first = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3])
        raise ModelFileError(f"The manifest of `{file}` is not valid: {first}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"The manifest of `{file}` is not valid: {error}") from error


def _check_tensors(file: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
    if odd := set(manifest.tensors) ^ set(tensors):
        raise ModelFileError(f"`{file}` was changed: manifest and content disagree about the tensor `{min(odd)}`.")
    for name, tensor in tensors.items():
        if storage.tensor_hash(tensor) != manifest.tensors[name]:
            raise ModelFileError(f"`{file}` was changed or damaged: the tensor `{name}` is not the one exported.")
