"""`foveal export`: a model in a format that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors, or the folder of a run.")],
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="'onnx' takes a decoded image; 'web' is a page that answers by itself; 'onnx-batch' and "
            "'torch-export' take resized images.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The file, or the folder of 'web'. (default: beside the model)")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of images to compare answers on. (default: validation images of a run, or drawn ones)",
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="ONNX in whole numbers of 8 bits, if the run's validation metric allows it.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For 'web': where onnxruntime-web lies. (default: npm fetches it)"),
    ] = None,
) -> None:
    """Write a model for other programs; it is compared with the model itself, and fails if answers differ.

    Examples:
        foveal export model.safetensors --images images/
        foveal export model.safetensors --to web

    More: docs/serving.md
    """
    from foveal.core.errors import InputError, UnknownNameError
    from foveal.inference.exports import FORMATS, TOLERANCE, export_model
    from foveal.inference.loading import load_predictor

    known = (*FORMATS, "web")
    if to not in known:
        raise UnknownNameError.of("format", to, known)
    run, model = (model, model / "model.safetensors") if model.is_dir() else (None, model)
    if int8:
        if images is not None or runtime is not None:
            raise InputError("--int8 is measured on the run's own validation images: leave out --images and --runtime.")
        _export_int8(run, to, out or model.with_suffix(".int8.onnx"))
        return
    if runtime is not None and to != "web":
        raise InputError(f"--runtime is for --to web; this is --to {to}.")
    compared = _images_to_compare(run, images)
    if to == "web":
        _export_web(model, out or model.with_name(f"{model.stem}-web"), compared, runtime)
        return
    found = export_model(
        load_predictor(model, device="cpu"), out or model.with_suffix(FORMATS[to].suffix), to=to, images=compared
    )
    for n, difference in found.differences.items():
        typer.echo(f"batch of {n:>2}: answers differ by at most {difference:.1e} (allowed: {TOLERANCE:g})")
    if found.from_files is not None:
        typer.echo(str(found.from_files))
    for file in found.files:
        typer.echo(f"written: {file}")


def _export_web(model: Path, folder: Path, images: Sequence[Path], runtime: Path | None) -> None:
    from foveal.inference.loading import load_image_predictor
    from foveal.inference.store import read_manifest
    from foveal.serve.web import export_web

    predictor = load_image_predictor(model, device="cpu")
    page = export_web(predictor, read_manifest(model), model, folder, images=images, runtime=runtime)
    typer.echo(str(page.exported.from_files))
    typer.echo(f"written: {folder} ({page.n_bytes / 1e6:.0f} MB). Any web server can serve it; to try it here:")
    typer.echo(f"python -m http.server -d {folder}")


def _images_to_compare(run: Path | None, images: Path | None) -> Sequence[Path]:
    """Return the images of a folder, or those that a run on images was validated on and that are still there."""
    from foveal.runs.folder import predictions_of, settings_of
    from foveal.runs.image_settings import ImageRun
    from foveal.sources.folders import images_in

    if images is not None:
        return images_in(images)
    if run is None or not isinstance(settings_of(run), ImageRun):
        return ()
    return [Path(str(image)) for image in predictions_of(run).images if Path(str(image)).is_file()]


def _export_int8(run: Path | None, to: str, target: Path) -> None:
    from foveal.core.errors import InputError
    from foveal.runs.int8 import export_int8

    if run is None or to != "onnx":
        raise InputError("--int8 is for --to onnx and the folder of a run, on whose validation images it is measured.")
    found = export_int8(run, target)
    typer.echo(str(found))
    for file in found.exported.files:
        typer.echo(f"written: {file}")
