"""What a run suggests to label next, of images that nobody has labelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.evaluation.choosing import By, choose_next, uncertainties_of
from foveal.evaluation.writers import row_of
from foveal.images.decode import ImageSource
from foveal.inference.loading import load_image_predictor
from foveal.inference.prediction import Prediction, Refused
from foveal.inference.predictor import Predictor
from foveal.inference.signals import noting_features
from foveal.runs import folder as run


class Suggestion(NamedTuple):
    """An image to label.

    Attributes:
        image: as it was given.
        uncertainty: how uncertain the model is of its answer, from 0 to 1.
        prediction: what it answers.
    """

    image: ImageSource
    uncertainty: float
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Images to label next.

    Attributes:
        chosen: the one that helps most first.
        n: images among which was chosen.
        n_labelled: images that the run was trained on and that are still there.
        refused: images that could not be used.
        predictor: the model that answered.
    """

    chosen: tuple[Suggestion, ...]
    n: int
    n_labelled: int
    refused: tuple[Refused, ...]
    predictor: Predictor

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield a row of a table for each: the name, how uncertain the model is of its answer, and the answer."""
        for one in self.chosen:
            row = row_of(one.image, one.prediction, self.predictor.task)
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
    """Choose images to label next, by the model of a run and what it was trained on.

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
    known = {path.absolute() for paths in sides.values() for path in paths}
    new = [image for image in images if not (isinstance(image, str | os.PathLike) and Path(image).absolute() in known)]
    if not new:
        raise InputError(f"All images named are labelled in `{folder}` already.")
    found = _look(predictor, new, advance)
    if not found.images:
        raise InputError(f"None of the {len(new):,} images can be used, the first because of: {found.refused[0].error}")
    labelled = _look(predictor, [path for path in sides["train"] if path.is_file()], lambda: None)
    spreads = [torch.from_numpy(answer.spread) for answer in found.answers if answer.spread is not None]
    values = torch.stack([answer.values for answer in found.answers])
    uncertainties = uncertainties_of(predictor.task, values, torch.stack(spreads) if spreads else None)
    known_features = labelled.features if labelled.images else None
    order = choose_next(found.features, k, labelled=known_features, uncertainties=uncertainties, by=by)
    chosen = tuple(Suggestion(found.images[at], float(uncertainties[at]), found.answers[at]) for at in order)
    return Suggestions(chosen, len(found.images), len(labelled.images), tuple(found.refused), predictor)


class _Looked(NamedTuple):
    images: list[ImageSource]
    answers: list[Prediction]
    features: Tensor
    refused: list[Refused]


def _look(predictor: Predictor, images: Sequence[ImageSource], advance: Callable[[], object]) -> _Looked:
    """Answer for images, and keep their features."""
    good, answers, refused = [], [], []
    with noting_features(predictor.quick) as features:
        for image, answer in zip(images, predictor.predict_batch(images), strict=True):
            if isinstance(answer, Refused):
                refused.append(answer)
            else:
                good.append(image)
                answers.append(answer)
            advance()
    return _Looked(good, answers, torch.cat(features) if features else torch.empty(0, 0), refused)
