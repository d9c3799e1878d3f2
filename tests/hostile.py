"""Files that pretend to be a bundle: whoever sends them wants code to run, memory to be taken, or weights swapped."""

import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial

import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from foveal.core.storage import tensor_hash


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, proof: str) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.proof, "w"))


def _changed(stored: dict, change: Callable[[dict], object]) -> dict:
    other = json.loads(json.dumps(stored))
    change(other)
    return other


def _metadata(text: str) -> dict[str, str]:
    """Return metadata whose hash fits the manifest."""
    return {"foveal": text, "foveal_sha256": hashlib.sha256(text.encode()).hexdigest()}


def bundle(path, manifest, tensors):
    """Write a bundle whose hash fits its manifest, whatever that says."""
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    save_file(tensors, path, _metadata(text))
    return path


def parts_of(path):
    """Return the manifest and the tensors of a bundle."""
    with safe_open(path, "pt") as stored:
        return json.loads(stored.metadata()["foveal"]), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118


def header_of(data: bytes) -> tuple[dict, bytes]:
    """Return the header of a .safetensors file, and what follows it."""
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def with_header(header: dict | str | bytes, rest: bytes) -> bytes:
    """Return a .safetensors file with another header."""
    raw = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(raw)) + raw + rest


def _pickles(proof: str) -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        yield f"pickle-{protocol}.safetensors", pickle.dumps(Evil(proof), protocol)
    for name in ("model.pkl", "model.pth", "model.pt", "model.bin", "model.joblib", "model"):
        yield name, pickle.dumps(Evil(proof))
    file = io.BytesIO()
    torch.save({"model": Evil(proof)}, file)
    yield "torch.safetensors", file.getvalue()
    file = io.BytesIO()
    torch.save({"model": Evil(proof)}, file, _use_new_zipfile_serialization=False)
    yield "old-torch.safetensors", file.getvalue()
    yield "pickle-after-length.safetensors", with_header(pickle.dumps(Evil(proof)), b"")


def _archives() -> Iterator[tuple[str, bytes]]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../outside", "x")
        archive.writestr("data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    yield "zip.safetensors", file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    yield "tar.safetensors", file.getvalue()


def _other_kinds() -> Iterator[tuple[str, bytes]]:
    yield "empty.safetensors", b""
    yield "short.safetensors", b"\x01\x02\x03"
    yield "length-only.safetensors", struct.pack("<Q", 0)
    yield "html.safetensors", b"<!doctype html><title>404</title>"
    yield "json.safetensors", b'{"format": 1}'
    yield "elf.safetensors", b"\x7fELF" + bytes(200)
    yield "hdf5.safetensors", b"\x89HDF\r\n\x1a\n" + bytes(200)
    yield "script.safetensors", b"#!/bin/sh\ntouch proof\n"
    yield "zeros.safetensors", bytes(4096)
    yield "pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def _headers(data: bytes) -> Iterator[tuple[str, bytes]]:
    header, rest = header_of(data)
    names = [name for name in header if name != "__metadata__"]
    first, second = sorted(names, key=lambda name: header[name]["data_offsets"][0] - header[name]["data_offsets"][1])[
        :2
    ]

    def changed(change: Callable[[dict], object]) -> bytes:
        return with_header(_changed(header, change), rest)

    size = len(rest)
    yield "header-beyond-the-file.safetensors", struct.pack("<Q", len(data) * 2) + data[8:]
    yield "header-of-exabytes.safetensors", struct.pack("<Q", 2**63 - 1) + data[8:]
    yield "header-all-ones.safetensors", b"\xff" * 8 + data[8:]
    yield "header-zero.safetensors", struct.pack("<Q", 0) + data[8:]
    yield "header-one-short.safetensors", struct.pack("<Q", int.from_bytes(data[:8], "little") - 1) + data[8:]
    yield "header-not-utf8.safetensors", with_header(b'{"\xff\xfe": 1}', rest)
    yield "header-a-list.safetensors", with_header("[]", rest)
    yield "header-a-number.safetensors", with_header("17", rest)
    yield "header-deep.safetensors", with_header("[" * 100_000, rest)
    yield "header-deep-names.safetensors", with_header('{"a":' * 50_000, rest)
    yield "header-large-number.safetensors", with_header('{"a": ' + "9" * 10_000 + "}", rest)
    text = json.dumps(header)
    twice = json.dumps({first: header[second]})[1:-1]
    yield "tensor-twice.safetensors", with_header("{" + twice + "," + text[1:], rest)
    yield "metadata-twice.safetensors", with_header('{"__metadata__": {},' + text[1:], rest)
    yield "metadata-a-list.safetensors", changed(lambda h: h.update(__metadata__=[1]))
    yield "metadata-nested.safetensors", changed(lambda h: h["__metadata__"].update(foveal={"format": 1}))
    yield "metadata-gone.safetensors", changed(lambda h: h.pop("__metadata__"))
    yield "no-hash.safetensors", changed(lambda h: h["__metadata__"].pop("foveal_sha256"))
    yield "overlap.safetensors", changed(lambda h: h[first].update(data_offsets=h[second]["data_offsets"]))
    yield "backwards.safetensors", changed(lambda h: h[first]["data_offsets"].reverse())
    yield "negative.safetensors", changed(lambda h: h[first].update(data_offsets=[-8, 8]))
    yield "beyond.safetensors", changed(lambda h: h[first].update(data_offsets=[size, size + 64]))
    yield "overflow.safetensors", changed(lambda h: h[first].update(shape=[2**62, 4]))
    yield "overflow-to-fit.safetensors", changed(lambda h: h[first].update(shape=[2**33, 2**33]))
    yield "negative-shape.safetensors", changed(lambda h: h[first].update(shape=[-1]))
    yield "shape-of-text.safetensors", changed(lambda h: h[first].update(shape="large"))
    yield "odd-type.safetensors", changed(lambda h: h[first].update(dtype="OBJECT"))
    yield "other-type.safetensors", changed(lambda h: h[first].update(dtype="I32"))
    yield "renamed.safetensors", changed(lambda h: h.update({"other": h.pop(first)}))
    yield "swapped.safetensors", changed(lambda h: _swap(h, first, second))
    yield "cut.safetensors", data[: len(data) // 2]
    yield "one-byte-short.safetensors", data[:-1]
    yield "one-byte-more.safetensors", data + b"\0"
    yield "zip-behind.safetensors", data + next(_archives())[1]


def _swap(header: dict, first: str, second: str) -> None:
    header[first], header[second] = header[second], header[first]


def _manifests(manifest: dict, tensors: dict) -> Iterator[tuple[str, object]]:
    changed = partial(_changed, manifest)
    large = 2_000_000_000
    yield "future", changed(lambda m: m.update(format=3))
    yield "far-future", changed(lambda m: m.update(format=10**9))
    yield "format-zero", changed(lambda m: m.update(format=0))
    yield "format-text", changed(lambda m: m.update(format="1"))
    yield "format-gone", changed(lambda m: m.pop("format")) | {"format": None}
    yield "surprise", changed(lambda m: m.update(on_load="import os"))
    yield "task-of-another-kind", changed(lambda m: m["task"].update(kind="os.system"))
    yield "task-without-vocabulary", changed(lambda m: m["task"].pop("vocab"))
    yield "vocabulary-a-number", changed(lambda m: m["task"].update(vocab=3))
    yield "vocabulary-too-long", changed(lambda m: m["task"].update(vocab=[str(i) for i in range(9)]))
    yield "thresholds-of-text", changed(lambda m: m["task"]["decision"].update(thresholds=["a", "b", "c"]))
    yield "thresholds-too-few", changed(lambda m: m["task"]["decision"].update(thresholds=[0.5]))
    yield "temperature-zero", changed(lambda m: m["task"]["decision"].update(temperature=0))
    yield "temperature-nan", changed(lambda m: m["task"]["decision"].update(temperature=float("nan")))
    yield "architecture-from-the-network", changed(lambda m: m["model"].update(arch="hf-hub:someone/evil"))
    yield "architecture-a-path", changed(lambda m: m["model"].update(arch="../../evil"))
    yield "architecture-of-another-shape", changed(lambda m: m["model"].update(arch="test_resnet"))
    yield "architecture-larger", changed(lambda m: m["model"].update(arch="vit_large_patch16_224"))
    yield "canvas-of-another-size", changed(lambda m: m["model"].update(input_size_hw=[33, 65]))
    yield (
        "canvas-odd-for-a-transformer",
        changed(
            lambda m: (
                m["model"].update(arch="test_vit", input_size_hw=[33, 65]),
                m["preparation"]["fit"].update(size_hw=[33, 65]),
            )
        ),
    )
    yield "head-unknown", changed(lambda m: m["model"].update(head="__import__"))
    yield "outputs-too-many", changed(lambda m: m["model"].update(n_outputs=large))
    yield (
        "outputs-and-vocabulary-too-many",
        changed(
            lambda m: (m["model"].update(n_outputs=99_999), m["task"].update(vocab=[str(i) for i in range(99_999)]))
        ),
    )
    yield "canvas-too-large", changed(lambda m: m["model"].update(input_size_hw=[large, large]))
    yield "canvas-zero", changed(lambda m: m["preparation"]["fit"].update(size_hw=[0, 0]))
    yield "canvas-negative", changed(lambda m: m["preparation"]["fit"].update(size_hw=[-32, 32]))
    yield "fit-unknown", changed(lambda m: m["preparation"]["fit"].update(method="eval"))
    yield "std-zero", changed(lambda m: m["preparation"].update(std=[0, 0, 0]))
    yield "no-preparation", changed(lambda m: m.update(preparation=None))
    yield (
        "another-model",
        changed(
            lambda m: m.update(
                model={"n_users": large, "n_items": large, "n_factors": [9, 9], "y_range": None, "layers": []}
            )
        ),
    )
    yield "hash-of-another", changed(lambda m: m["tensors"].update({next(iter(tensors)): "0" * 64}))
    yield "hashes-gone", changed(lambda m: m.update(tensors={}))
    yield "a-list", "[]"
    yield "not-json", "{'format': 1}"
    yield "twice", '{"format": 1, ' + json.dumps(manifest)[1:]


def _ratings(manifest: dict, tensors: dict) -> Iterator[tuple[str, object, dict]]:
    changed = partial(_changed, manifest)
    yield "ids-of-lists", changed(lambda m: m["task"].update(users=[[1], [2], [3]])), tensors
    yield "ids-twice", changed(lambda m: m["task"].update(users=[1, 1, 2])), tensors
    yield "ids-a-text", changed(lambda m: m["task"].update(items="abcd")), tensors
    yield "factors-too-many", changed(lambda m: m["model"].update(n_factors=[10**8, 10**8])), tensors
    yield "layers-too-many", changed(lambda m: m["model"].update(layers=[10**6, 10**6])), tensors
    yield "users-too-many", changed(lambda m: m["model"].update(n_users=10**9)), tensors
    seen = {**tensors, "seen": torch.tensor([[9, 9]])}
    yield "pairs-of-nobody", manifest, seen
    yield "pairs-below-zero", manifest, {**tensors, "seen": torch.tensor([[-1, 1]])}
    yield "pairs-of-three", manifest, {**tensors, "seen": torch.ones(2, 3, dtype=torch.int64)}


def files(good, ratings, proof: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of hostile files, made from good bundles; code in them would write `proof`."""
    data = good.read_bytes()
    manifest, tensors = parts_of(good)
    yield from _pickles(proof)
    yield from _archives()
    yield from _other_kinds()
    yield from _headers(data)
    for name, changed in _manifests(manifest, tensors):
        text = changed if isinstance(changed, str) else json.dumps(changed)
        yield f"manifest-{name}.safetensors", save(tensors, _metadata(text))
    for name, changed, held in _ratings(*parts_of(ratings)):
        hashes = {tensor: tensor_hash(value) for tensor, value in held.items()}
        text = json.dumps({**changed, "tensors": hashes})
        yield f"ratings-{name}.safetensors", save(held, _metadata(text))
