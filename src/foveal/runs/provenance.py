"""Where a model comes from, for its card: data and split, seed, length of training, machine, what to know first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from foveal.audit.checks import Audit
from foveal.audit.inspection import Ledger
from foveal.core import runtime, storage
from foveal.core.tables import printable
from foveal.data.loaders import DataLoaders
from foveal.images.decode import ImageSource, name_of
from foveal.learner.learner import Learner
from foveal.runs.image_settings import ImageRun
from foveal.sources.items import Source

_SHOWN = 3  # pairs of copies that a line names


def provenance(learn: Learner, settings: ImageRun, source: Source, found: Audit) -> dict[str, object]:
    """Return what a bundle says of where its model comes from, by the names of `TrainingPart`."""
    dls = learn.dls
    return {
        "source": f"{settings.data.table.name}, {source.kind}",
        "data": data_hash(dls),
        "split": split_text(settings, source),
        "seed": settings.training.seed,
        "epochs": epochs_text(learn),
        "hardware": runtime.hardware(dls.device),
        "first": tuple(leaks_of(found, dls)),
    }


def data_hash(dls: DataLoaders) -> str:
    """Return the SHA-256 of the images, their labels, and the side each is on, whatever the files are called."""
    rows, ledger = [], Ledger.load(dls.preparation.n_channels)  # the audit has read all files once already
    for side in dls:
        dataset = side.dataset
        for image, target in zip(dataset.images, dataset.targets, strict=True):
            rows.append(f"{_content_hash(image, ledger)} {target.tolist()} {side is dls.valid}")
    return hashlib.sha256("\n".join(sorted(rows)).encode(errors="surrogateescape")).hexdigest()


def _content_hash(image: ImageSource, ledger: Ledger) -> str:
    """Return the SHA-256 of an image's file, as the audit has it where the file is as it was then; else its name."""
    if not isinstance(image, Path) or not image.is_file():
        return name_of(image)
    sha256, modified_at = ledger.accepted_as(image)
    return sha256 if sha256 and modified_at == image.stat().st_mtime_ns else storage.file_hash(image)


def split_text(settings: ImageRun, source: Source) -> str:
    """Return in words how the validation side was chosen."""
    training = settings.training
    if training.folds is not None:
        return f"fold {(training.fold or 0) + 1} of {training.folds}, drawn with seed {_split_seed(settings)}"
    if source.has_split:
        return "as the source has it"
    group = settings.data.group_column
    kept = f", each {group} on one side" if group else ""
    return f"drawn at random with seed {_split_seed(settings)}, rates of labels kept{kept}"


def _split_seed(settings: ImageRun) -> int:
    training = settings.training
    return training.seed if training.split_seed is None else training.split_seed


def epochs_text(learn: Learner) -> str:
    """Return in words for how long it was trained."""
    history = learn.recorder.history
    probes = learn.recipe is not None and learn.recipe.probe
    n = len(history) - probes  # the first result is then that of the probe
    parts = ["the head fitted to features of the backbone"] if probes else []
    parts += [f"{n} epoch{'s' if n != 1 else ''}"] if n or not parts else []
    return f"{', then '.join(parts)}; {sum(result.seconds for result in history):.0f} s"


def leaks_of(found: Audit, dls: DataLoaders) -> Iterator[str]:
    """Yield what stands on both sides of the split, in sentences."""
    sides = [{name_of(image) for image in side.dataset.images} for side in dls]
    pairs = [
        finding.images
        for finding in found.findings
        if "copy" in finding.rule and len(finding.images) == 2 and _is_across(finding.images, sides)
    ]
    if pairs:
        shown = ", ".join(
            f"{printable(Path(first.name))} and {printable(Path(second.name))}" for first, second in pairs[:_SHOWN]
        )
        more = " and others" if len(pairs) > _SHOWN else ""
        n, of = len(pairs), len(sides[1])
        yield (
            f"{n} of {of:,} validation images {'has a copy' if n == 1 else 'have copies'} or near copies among those "
            f"trained on ({shown}{more}): the metrics flatter."
        )


def _is_across(pair: tuple[Path, ...], sides: list[set[str]]) -> bool:
    first, second = (name_of(image) for image in pair)
    return any(one in sides[0] and other in sides[1] for one, other in ((first, second), (second, first)))
