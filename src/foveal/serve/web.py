"""A page that needs no service: the model, the runtime of a browser and the page in one folder, for any web server.

The runtime is onnxruntime-web, of which three files are needed; it is not part of foveal. They come from a folder or an
archive that is given, or from npm, which knows where packages lie.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from foveal.core import download, kept, storage
from foveal.core.errors import InputError, MissingDependencyError
from foveal.images.decode import ImageSource
from foveal.inference.exports import Exported, export_model
from foveal.inference.manifest import Manifest
from foveal.inference.predictor import Predictor
from foveal.reporting.card import card_of
from foveal.serve.assets import STATIC, page_model, page_texts

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
_CHECKSUM = download.Checksum("d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71")
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_MOST_BYTES = 64 << 20  # of one of these files; the largest has 14 MB
_NPM_SECONDS = 300.0
_HOW = (
    f"--runtime takes that archive, or the folder `dist` of the package: where npm is installed, `npm pack "
    f"onnxruntime-web@{VERSION}` writes {PACKAGE}."
)


class WebExport(NamedTuple):
    """What was written.

    Attributes:
        folder: of the page.
        exported: the model, and how it was compared.
        n_bytes: of all files.
    """

    folder: Path
    exported: Exported
    n_bytes: int


def export_web(
    predictor: Predictor,
    manifest: Manifest,
    model: Path,
    folder: Path,
    *,
    images: Sequence[ImageSource] = (),
    runtime: Path | None = None,
) -> WebExport:
    """Write a folder with a page that answers in the browser.

    Args:
        predictor: of the model, on the CPU.
        manifest: of its bundle, for the card.
        model: the bundle, by which the page is called.
        folder: where it is written; it must not exist, or be empty.
        images: to compare answers on; see `export_model`.
        runtime: where onnxruntime-web lies; from npm by default.

    Returns:
        The folder, how the exported model was compared, and the bytes written.

    Raises:
        InputError: the folder holds something, the model takes four channels, or `runtime` is not what it should be.
        MissingDependencyError: there is no npm, and no `runtime`.
    """
    if predictor.preparation.n_channels > 3:
        raise InputError("A browser gives images without their fourth channel: this model cannot answer there.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"`{folder}` exists already and is not an empty folder. Name another one with --out.")
    files = runtime_files(runtime)
    texts = page_texts(STATIC, "images", ("images_alone.js",))
    with tempfile.TemporaryDirectory(prefix="foveal-") as made:
        exported = export_model(predictor, Path(made) / "model.onnx", images=images)
        described = json.loads((Path(made) / "model.onnx.json").read_text(encoding="utf-8"))
        about = page_model(predictor) | {
            "card": card_of(manifest, model).to_dict(),
            "gives": described["gives"],
            "answer_names": described["names"],
            "set_threshold": described.get("set_threshold"),
            "known_within": described.get("known_within"),
            "n_channels": predictor.preparation.n_channels,
            "radius_note": "",  # an exported model has no radii
        }
        written = {
            "model.onnx": (Path(made) / "model.onnx").read_bytes(),
            "model.json": json.dumps(about).encode(),
            "index.html": texts.html.encode(),
            "app.js": texts.script.encode(),
            "app.css": texts.style.encode(),
            **{f"runtime/{name}": content for name, content in files.items()},
        }
    (folder / "runtime").mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        with storage.replacing(folder / name) as beside:
            beside.write_bytes(content)
    return WebExport(folder, exported, sum(map(len, written.values())))


def runtime_files(given: Path | None) -> Mapping[str, bytes]:
    """Return the files of the runtime by name.

    Args:
        given: a folder that holds them, itself or below `dist` or `node_modules/onnxruntime-web/dist`; or the archive
            of the package; None asks npm for it once, and keeps it.

    Raises:
        InputError: they are not there.
        MissingDependencyError: there is no npm, or it cannot fetch the package.
    """
    if given is not None and given.is_dir():
        for below in (".", "dist", "package/dist", "node_modules/onnxruntime-web/dist", "onnxruntime-web/dist"):
            if all((given / below / name).is_file() for name in FILES):
                return {name: (given / below / name).read_bytes() for name in FILES}
        raise InputError(f"`{given}` does not hold the files of onnxruntime-web: {', '.join(FILES)}. {_HOW}")
    try:
        content = _from_npm() if given is None else given.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            return {name: _member(archive, name) for name in FILES}
    except (OSError, tarfile.TarError, KeyError) as error:
        raise InputError(f"`{given or PACKAGE}` is not the archive of onnxruntime-web ({error}). {_HOW}") from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(f"package/dist/{name}")
    opened = archive.extractfile(member) if member.isfile() and member.size <= _MOST_BYTES else None
    if opened is None:
        raise KeyError(f"{name} is no usual file")
    return opened.read()


def _from_npm() -> bytes:
    """Return the archive, which npm fetches where it is not kept from before.

    Raises:
        MissingDependencyError: there is no npm, or it could not fetch the archive.
        InputError: what it fetched has another hash.
    """
    archive = kept.cache_folder() / PACKAGE
    if archive.is_file() and _CHECKSUM.of(archive) == _CHECKSUM.digest:
        return archive.read_bytes()
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"The page needs onnxruntime-web {VERSION}, and no npm is here to fetch it. {_HOW}"
        )
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent"]
        try:
            subprocess.run(  # noqa: S603 -- npm, with words of ours
                command, cwd=folder, capture_output=True, text=True, check=True, timeout=_NPM_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            printed = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
            reason = f"npm could not fetch onnxruntime-web {VERSION} ({''.join(printed)})"
            raise MissingDependencyError(f"{reason}. {_HOW}") from error
        fetched = Path(folder) / PACKAGE
        if not fetched.is_file() or _CHECKSUM.of(fetched) != _CHECKSUM.digest:
            raise InputError(f"What npm fetched is not onnxruntime-web {VERSION}: its hash is another one. {_HOW}")
        content = fetched.read_bytes()
    with kept.keeping(), storage.replacing(archive) as beside:
        beside.write_bytes(content)
    return content
