"""Features of frozen bodies, computed once: kept under `FOVEAL_HOME` by image and body, whoever asks for them.

A row is found again by the hash of the image's file; all rows of one body, input size and preparation lie in one
folder, float16, in safetensors files that are mapped. Whatever differs has another name, so nothing there can be out of
date: a changed file is another image, changed weights another body. All that is kept stays within a size, 1 GiB unless
FOVEAL_FEATURES_MIB says otherwise; with 0 nothing is kept. What was used longest ago goes first.

Shapes: n images, F numbers of each.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from foveal.core import distributed, kept, runtime, storage, threads
from foveal.core.errors import InputError
from foveal.core.warn import warn
from foveal.data.batchers import ImageBatcher
from foveal.data.loader import DataLoader
from foveal.images.decode import ImageSource, NamedPixels, StoredImage
from foveal.images.parquet_rows import read_bytes
from foveal.images.prepare import Preparation
from foveal.training.loop import Evaluation, evaluate

VERSION = 3
"""Raised by every change of how an image comes to a body that changes its numbers."""
_USUAL_MIB = 1024
"""Rows of 1,280 numbers of 400,000 images; chosen by hand."""
_KEY_BYTES = 16
"""Of a row's hash: two of 10^9 images have the same with a probability of 1e-21."""
_AT_ONCE = 64  # images that a thread hashes; one by one, passing them round took three times as long as hashing
_LARGEST = float(np.finfo(np.float16).max)
Key = bytes


def features_of(
    body: nn.Module, loader: DataLoader, about: Sequence[str], *, precision: runtime.Precision, device: torch.device
) -> Evaluation:
    """Return the features of a loader's images, in data order, and their targets; computed where they are not kept.

    They are rounded to float16 whether they come from a file or not, so that both ways give one result.

    Args:
        body: returns features [n, F]; in the mode that it is evaluated in.
        loader: prepared as in validation.
        about: what of the body's way to features its weights do not tell.
        precision: of the body.
        device: where it is.

    Raises:
        TrainingError: the loader has no item.
    """
    batcher = loader.batcher
    may_keep = isinstance(batcher, ImageBatcher) and not batcher.pipeline.changes and distributed.world_size() == 1
    store = None
    if may_keep:
        assert isinstance(batcher, ImageBatcher)
        about = [type(body).__name__, *about]
        store = FeatureFolder.of(body, about, batcher.pipeline.preparation, precision, device)
    if store is None:
        found = evaluate(body, loader.shard_batches(), precision=precision, device=device, sharded=True)
        return Evaluation(rounded(found.outputs), found.targets)
    assert isinstance(batcher, ImageBatcher)
    images, targets = batcher.dataset.images, batcher.dataset.targets
    some = (images[at : at + _AT_ONCE] for at in range(0, len(images), _AT_ONCE))
    keys = [key for part in threads.grouped_map(key_of, some, num_workers=batcher.num_workers) for key in part]

    def compute(missing: Sequence[int]) -> Tensor:
        rest = loader if len(missing) == len(keys) else loader.new(batcher.dataset.subset(missing))
        return evaluate(body, rest.shard_batches(), precision=precision, device=device, sharded=True).outputs

    return Evaluation(store.rows(keys, compute), targets)


def rounded(features: Tensor) -> Tensor:
    """Return features with the precision in which they are kept, float32.

    Args:
        features: float32, any shape.
    """
    return features.clamp(-_LARGEST, _LARGEST).half().float()


def key_of(image: ImageSource) -> Key:
    """Return the hash of an image: of its file where there is one, else of its pixels.

    Raises:
        OSError: its file cannot be read.
    """
    if isinstance(image, bytes):
        data: bytes | memoryview = image
    elif isinstance(image, StoredImage):
        data = image.read()
    elif isinstance(image, Image.Image | np.ndarray | NamedPixels):
        array = np.ascontiguousarray(image.pixels if isinstance(image, NamedPixels) else np.asarray(image))
        data = f"{array.dtype}{array.shape}".encode() + array.tobytes()
    else:
        data, _ = read_bytes(Path(os.fspath(image)))
    return hashlib.blake2b(data, digest_size=_KEY_BYTES).digest()


@dataclass(frozen=True, slots=True)
class FeatureFolder:
    """Rows of features by key, in files of a folder that belongs to one description.

    Processes may share it: each writes files of its own, whole or not at all.

    Attributes:
        root: the folder of all descriptions, which stays below `n_bytes`.
        n_bytes: the most that all files hold together.
        description: what the rows depend on, besides their image.
    """

    root: Path
    n_bytes: int
    description: dict[str, object]

    @classmethod
    def of(
        cls, body: nn.Module, about: Sequence[str], preparation: Preparation, precision: str, device: torch.device
    ) -> Self | None:
        """Return where features of a body are kept; None where nothing may be.

        Args:
            body: decides with its weights.
            about: what of its way to features its weights do not tell.
            preparation: how images come to it.
            precision: in which they are computed.
            device: where they are computed.
        """
        if (n_bytes := storage.kept_bytes("FOVEAL_FEATURES_MIB", _USUAL_MIB)) == 0:
            return None
        description: dict[str, object] = {
            "version": VERSION,
            "torch": torch.__version__,
            "body": _hash_of(body),
            "about": list(about),
            "preparation": json.loads(json.dumps(preparation.to_dict())),
            "precision": precision,
            "device": device.type,
            "white": os.environ.get("FOVEAL_WHITE", ""),
        }
        return cls(kept.cache_folder() / "features", n_bytes, description)

    @property
    def folder(self) -> Path:
        """The folder of this description."""
        return self.root / storage.text_hash(self._text)[:32]

    @property
    def _text(self) -> str:
        return json.dumps(self.description, sort_keys=True)

    def rows(self, keys: Sequence[Key], compute: Callable[[Sequence[int]], Tensor]) -> Tensor:
        """Return the rows of keys, float32 [n, F], of which those that are missing are computed and kept.

        Args:
            keys: of the images, in order.
            compute: returns the rows of some positions, float32 [m, F].
        """
        known = self.known(keys)
        missing = [at for at, key in enumerate(keys) if key not in known]
        if missing:
            known |= self.keep([keys[at] for at in missing], compute(missing))
        return torch.from_numpy(np.stack([known[key] for key in keys])).float()

    def keep(self, keys: Sequence[Key], rows: Tensor) -> dict[Key, NDArray[np.float16]]:
        """Return rows by their keys as they are kept, in half precision, after writing them to a file.

        Args:
            keys: of the images.
            rows: float32 [n, F].
        """
        made = rounded(rows).half().numpy()
        self._write(keys, made)
        return dict(zip(keys, made, strict=True))

    def known(self, keys: Sequence[Key]) -> dict[Key, NDArray[np.float16]]:
        """Return the rows that are kept, of those that are wanted."""
        wanted, found = set(keys), dict[Key, NDArray[np.float16]]()
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                stored, rows = self._content(file)
            except (SafetensorError, InputError, OSError) as error:
                warn(f"`{file}` holds no features of this body ({error}); they are computed anew.")
                with suppress(OSError):
                    file.unlink()
                continue
            with suppress(OSError):  # a folder of somebody else's
                os.utime(file)
            found |= {key: row for key, row in zip(map(bytes, stored), rows, strict=True) if key in wanted}
        return found

    def _content(self, file: Path) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        with safe_open(file, "numpy") as opened:
            if (opened.metadata() or {}).get("description") != self._text:
                raise InputError("it was made with something else")
            stored, rows = opened.get_tensor("keys"), opened.get_tensor("rows")
        if stored.shape != (len(rows), _KEY_BYTES) or rows.ndim != 2 or rows.dtype != np.float16:
            raise InputError("its rows and keys do not fit each other")
        return stored, rows

    def _write(self, keys: Sequence[Key], rows: NDArray[np.float16]) -> None:
        tensors = {
            "keys": torch.from_numpy(np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), _KEY_BYTES).copy()),
            "rows": torch.from_numpy(rows),
        }
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:16]
        with kept.keeping():
            storage.write_tensors(self.folder / f"{name}.safetensors", tensors, {"description": self._text})
            storage.keep_within(self.root, "*/*.safetensors", self.n_bytes)


def _hash_of(body: nn.Module) -> str:
    return storage.text_hash("".join(f"{name} {storage.tensor_hash(t)}\n" for name, t in body.state_dict().items()))
