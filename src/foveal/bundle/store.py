"""One .safetensors file holds a bundle: the tensors, and the manifest in its metadata. Reading it runs no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pydantic
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal import storage
from foveal.bundle.manifest import FORMAT, Manifest
from foveal.errors import ModelFileError

_KEY = "foveal"
_MAGIC = {b"PK\x03\x04": "a zip archive (torch's own format?)", b"\x80": "a pickle", b"\x1f\x8b": "a gzip archive"}


def write_bundle(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write a bundle, atomically."""
    storage.write_tensors(path, tensors, {_KEY: manifest.model_dump_json()})


def hashes_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the hash of each tensor, as the manifest holds it."""
    return {name: storage.tensor_hash(tensor) for name, tensor in tensors.items()}


def read_bundle(path: str | os.PathLike[str]) -> tuple[Manifest, dict[str, Tensor]]:
    """Read and check a bundle.

    Raises:
        ModelFileError: it is no bundle, was changed or damaged, or comes from a newer foveal.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"There is no model file `{file}`.")
    with file.open("rb") as opened:
        start = opened.read(8)
    for magic, what in _MAGIC.items():
        if start.startswith(magic) and int.from_bytes(start, "little") > file.stat().st_size:
            raise ModelFileError(
                f"`{file}` is {what}, which could run code when loaded. foveal loads only its own .safetensors: "
                "load the model where it was made and write it with `learn.export('model.safetensors')`."
            )
    try:
        with safe_open(file, framework="pt") as stored:
            manifest = _manifest(file, (stored.metadata() or {}).get(_KEY))
            names = stored.keys()
            tensors = {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"`{file}` is no safetensors file, or is damaged ({error}).") from error
    _check_tensors(file, manifest, tensors)
    return manifest, tensors


def _manifest(file: Path, text: str | None) -> Manifest:
    if text is None:
        raise ModelFileError(
            f"`{file}` holds tensors but no foveal manifest: it is no bundle. Weights of a backbone go "
            "in with weights=."
        )
    try:
        stored = json.loads(text)
        newer = isinstance(stored, dict) and isinstance(stored.get("format"), int) and stored["format"] > FORMAT
        if newer:
            raise ModelFileError(
                f"`{file}` has bundle format {stored['format']}; this foveal reads up to {FORMAT}. "
                "Install a newer one: pip install --upgrade foveal"
            )
        return Manifest.model_validate(stored)
    except (pydantic.ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"The manifest of `{file}` is not valid: {error}") from error


def _check_tensors(file: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
    if odd := set(manifest.tensors) ^ set(tensors):
        raise ModelFileError(f"`{file}` was changed: manifest and content disagree about the tensor `{min(odd)}`.")
    for name, tensor in tensors.items():
        if storage.tensor_hash(tensor) != manifest.tensors[name]:
            raise ModelFileError(f"`{file}` was changed or damaged: the tensor `{name}` is not the one exported.")
