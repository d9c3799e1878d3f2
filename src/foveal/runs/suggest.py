"""What to label next, of images that nobody has labelled: by a run's model or, before there is one, by a backbone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foveal.core.errors import InputError
from foveal.evaluation.bank import answers_for, extractor_at_hand, look
from foveal.evaluation.choosing import By, choose_next, uncertainties_of, weights_of
from foveal.evaluation.writers import row_of
from foveal.images.decode import ImageSource, name_of
from foveal.inference.loading import load_image_predictor
from foveal.inference.prediction import Prediction, Refused, check_images
from foveal.runs import folder as run
from foveal.tasks.base import AnyTask


class Suggestion(NamedTuple):
    """An image to label.

    Attributes:
        image: as it was given.
        uncertainty: how uncertain the model is of its answer, from 0 to 1; None without a model.
        prediction: what it answers; None without a model.
    """

    image: ImageSource
    uncertainty: float | None = None
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Images to label next.

    Attributes:
        chosen: the one that helps most first.
        n: images among which was chosen.
        n_labelled: images that the run was trained on and that are still there.
        refused: images that could not be used.
        task: of the model that answered; None where there was none.
    """

    chosen: tuple[Suggestion, ...]
    n: int
    n_labelled: int
    refused: tuple[Refused, ...]
    task: AnyTask | None

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield a row of a table for each: the name and, of a model, how uncertain it is of its answer, and that."""
        for one in self.chosen:
            if one.prediction is None or one.uncertainty is None or self.task is None:
                yield {"fname": name_of(one.image)}
                continue
            row = row_of(one.image, one.prediction, self.task)
            ours = "uncertainty" if "uncertainty" not in row else "uncertainty of the answer"  # beside such a class
            yield {"fname": row.pop("fname"), ours: round(one.uncertainty, 4)} | row


def suggest(
    folder: Path,
    images: Iterable[ImageSource],
    k: int = 20,
    *,
    by: By = "both",
    advance: Callable[[], object] = lambda: None,
) -> Suggestions:
    """Return images to label next, chosen by the model of a run and what it was trained on.

    Args:
        folder: of the run.
        images: unlabelled ones; those that the run was trained or validated on are left out.
        k: how many.
        by: see `choose_next`.
        advance: called after each image that was looked at.

    Raises:
        InputError: none of the images is new, or can be used.
    """
    predictor = load_image_predictor(folder / run.MODEL)
    run.image_settings_of(folder)
    sides = run.sides_of(folder)
    check_images(images)
    known = {path.absolute() for paths in sides.values() for path in paths}
    new = [image for image in images if not (isinstance(image, str | os.PathLike) and Path(image).absolute() in known)]
    if not new:
        raise InputError(f"All images named are labelled in `{folder}` already.")
    bank = look(predictor, new, advance)
    trained_on = [path for path in sides["train"] if path.is_file()]
    labelled = look(predictor, trained_on).features if trained_on else None
    values, spread = answers_for(predictor, bank)
    uncertainties = uncertainties_of(predictor.task, values, spread)
    weights = weights_of(predictor.task, values, uncertainties)
    order = choose_next(bank.features, k, labelled=labelled, uncertainties=uncertainties, weights=weights, by=by)
    answers = predictor.predict_batch([bank.images[at] for at in order])
    chosen = tuple(
        Suggestion(bank.images[at], float(uncertainties[at]), answer)
        for at, answer in zip(order, answers, strict=True)
        if isinstance(answer, Prediction)
    )
    n_labelled = 0 if labelled is None else len(labelled)
    return Suggestions(chosen, len(bank.images), n_labelled, bank.refused, predictor.task)


def first_choice(
    images: Iterable[ImageSource],
    k: int = 20,
    *,
    arch: str | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Suggestions:
    """Return images to label first, before there is a model, chosen by diversity.

    Args:
        images: unlabelled ones.
        k: how many.
        arch: the backbone by whose features images are told apart; the largest on this machine by default.
        advance: called after each image that was looked at.

    Raises:
        InputError: none of the images can be used, or there is no backbone on this machine.
        ModelFileError: the backbone's weights cannot be had.
    """
    check_images(images)
    bank = look(extractor_at_hand(arch), list(images), advance)
    chosen = tuple(Suggestion(bank.images[at]) for at in choose_next(bank.features, k, by="diversity"))
    return Suggestions(chosen, len(bank.images), 0, bank.refused, None)
