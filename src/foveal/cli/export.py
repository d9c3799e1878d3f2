"""`foveal export`: a model in a format that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.options import Model


def export(
    model: Model,
    *,
    to: Annotated[
        str, typer.Option(help="'onnx' takes a decoded image; 'onnx-batch' and 'torch-export' resized ones.")
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file. (default: beside the model)")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images to compare answers on. (default: drawn ones)")
    ] = None,
) -> None:
    """Write a model as ONNX or torch.export; it is compared with the model itself, and fails if answers differ."""
    from foveal.core.errors import UnknownNameError
    from foveal.inference.exports import FORMATS, TOLERANCE, export_model
    from foveal.inference.loading import load_predictor
    from foveal.sources.folders import images_in

    if to not in FORMATS:
        raise UnknownNameError.of("format", to, FORMATS)
    predictor = load_predictor(model, device="cpu")
    target = out or model.with_suffix(FORMATS[to].suffix)
    found = export_model(predictor, target, to=to, images=images_in(images) if images else ())
    for n, difference in found.differences.items():
        typer.echo(f"batch of {n:>2}: answers differ by at most {difference:.1e} (allowed: {TOLERANCE:g})")
    if found.from_files is not None:
        typer.echo(str(found.from_files))
    for file in found.files:
        typer.echo(f"written: {file}")
