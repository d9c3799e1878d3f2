"""`foveal demo`: the whole way on images that foveal draws itself, without network and data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_N_SCENES = 600  # drawn to learn from: about a minute on two cores
_N_NEW = 5  # drawn to be predicted: one row of the sheet


def demo(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write data, run and answers.")] = Path(
        "foveal-demo"
    ),
) -> None:
    """Draw a sample set, train a several-label model on it and ask it about five new images.

    Examples:
        foveal demo

    More: docs/start.md
    """
    from foveal.images import canvas
    from foveal.images.decode import decode
    from foveal.inference.loading import load_image_predictor
    from foveal.runs.door import start
    from foveal.runs.folder import free_folder
    from foveal.sources.synthetic import draw_scene, write_scenes

    free_folder(out, "")
    typer.echo(f"Drawing {_N_SCENES} scenes …")
    table = write_scenes(out / "data", n=_N_SCENES)
    settings = {  # few epochs at a high rate: it has to be quick, and drawn shapes are easy
        "images": out / "data" / "scenes",
        "empty": "none",
        "size": (128, 128),
        "min_scale": 0.7,
        "epochs": 5,
        "freeze_epochs": 1,
        "lr": 8e-3,
    }
    start(table, out=out / "run", resume=None, given=settings)

    predictor = load_image_predictor(out / "run" / "model.safetensors")
    scenes = [draw_scene(0, _N_SCENES + number) for number in range(_N_NEW)]
    typer.echo(f"\n{_N_NEW} new images")
    (out / "new").mkdir()
    labels = []
    for number, scene in enumerate(scenes):
        file = out / "new" / f"new_{number}.png"
        scene.image.save(file)
        answer = predictor.predict(file)
        labels.append(answer.label)
        right = "right" if set(answer.label) == set(scene.labels) else f"really: {', '.join(scene.labels) or 'nothing'}"
        typer.echo(f"  {file.name}: {', '.join(answer.label) or 'nothing found'}  ({right})")
    sheet = canvas.sheet(
        [decode(scene.image) for scene in scenes],
        lambda one, at: predictor.task.draw(one, labels[at], list(scenes[at].labels)),
        rows=1,
        caption=predictor.task.legend,
    )
    canvas.save(sheet, out / "answers.png")
    typer.echo(f"Drawn in {out / 'answers.png'}. Everything is in {out}.")
