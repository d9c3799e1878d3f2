"""Predictions in shards: one parquet file per part of the images, finished or absent; finished shards are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import pydantic

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.core.tables import Row, write_table
from foveal.images.decode import name_of
from foveal.inference.loading import load_image_predictor
from foveal.inference.prediction import Refused
from foveal.inference.predictor import Predictor
from foveal.scale.streaming import predict_each
from foveal.sources.addresses import Part, parts_of
from foveal.tasks.confidence import row_of

_PLAN, _FINISHED = "_plan.json", "_finished"
REFUSED = "_refused.csv"
"""The table of the images that could not be used, in the folder of the shards."""


SHARD_SIZE = 4096
"""Images; a file of them is some MB, and a part that is lost is done again in a minute."""


class _Plan(pydantic.BaseModel):
    """What a folder of shards was begun with: hashes of model and images, and images per shard; 0 in older folders."""

    weights: str
    images: str
    size: Annotated[int, pydantic.Field(ge=0)] = 0


class ShardResult(NamedTuple):
    """What a shard holds: how many images were answered, and [name, reason] of those that could not be used."""

    answered: int
    refused: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of predictions.

    Attributes:
        folder: where `part-000000.parquet` and so on are.
        model: the bundle that answers.
        parts: the images of each shard.
        batch_size: images per batch.
    """

    folder: Path
    model: Path
    parts: Sequence[Part]
    batch_size: int = 32

    @classmethod
    def begin(
        cls,
        folder: Path,
        model: Path,
        addresses: Sequence[str],
        *,
        size: int | None,
        batch_size: int,
        resume: bool,
        anywhere: bool = False,
    ) -> Shards:
        """Write down what is going to be done, or check that an earlier run began the same.

        A run that is resumed has the shards that it began with, whatever size is given.

        Args:
            folder: for the shards; new or empty unless `resume`.
            model: the bundle that answers.
            addresses: of the images, see `parts_of`.
            size: images per shard; 4,096 by default.
            batch_size: images per batch.
            resume: keep the shards that an earlier run has finished.
            anywhere: whether tables may name images that lie elsewhere than they do.

        Returns:
            The shards, which are not predicted yet.

        Raises:
            InputError: there is nothing at an address; the folder holds something else.
        """
        file = folder / _PLAN
        if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"`{folder}` holds something already. Continue with --resume, or name another --out.")
        before = _plan_in(folder) if resume else None
        if before is not None:
            size = before.size or size
        parts = list(parts_of(addresses, size or SHARD_SIZE, anywhere=anywhere))
        names = hashlib.sha256()
        for part in parts:
            names.update(part.text.encode())
        plan = _Plan(weights=storage.file_hash(model), images=names.hexdigest(), size=size or SHARD_SIZE)
        if before is not None:
            differ = [name for name in ("weights", "images") if getattr(before, name) != getattr(plan, name)]
            if differ:
                raise InputError(
                    f"`{folder}` was begun with other {' and '.join(differ)}. Leave out --resume and name another "
                    "folder to begin anew."
                )
        storage.write_json(file, plan.model_dump())
        return cls(folder, model, parts, batch_size)

    def unfinished(self) -> list[int]:
        """Return the numbers of the shards that are not finished."""
        return [number for number in range(len(self.parts)) if not self._mark(number).exists()]

    def predict(self, number: int, part: Part, predictor: Predictor, *, num_workers: int | None = None) -> None:
        """Answer for a part and write its shard, unless that is done already.

        Args:
            number: of the shard.
            part: its images.
            predictor: the model that answers.
            num_workers: threads that decode images; see `threads.default_workers`.
        """
        if self._mark(number).exists():
            return
        rows: list[Row] = []
        refused: list[list[str]] = []
        for image, prediction in predict_each(predictor, part.images(), self.batch_size, num_workers=num_workers):
            if isinstance(prediction, Refused):
                refused.append([name_of(image), prediction.error.reason])
            else:
                values = row_of(
                    predictor.task, prediction.values, prediction.label, prediction.radius, prediction.is_known
                )
                rows.append({"fname": name_of(image)} | values)
        if rows:
            write_table(self.folder / f"part-{number:06d}.parquet", rows)
        storage.write_json(self._mark(number), ShardResult(len(rows), refused)._asdict())

    def finish(self) -> ShardResult:
        """List the images that could not be used.

        Returns:
            The counts of all shards.
        """
        marks = [json.loads(self._mark(number).read_text(encoding="utf-8")) for number in range(len(self.parts))]
        refused = [entry for mark in marks for entry in mark["refused"]]
        if refused:
            names = ("fname", "refused")
            write_table(self.folder / REFUSED, (dict(zip(names, entry, strict=True)) for entry in refused))
        return ShardResult(sum(mark["answered"] for mark in marks), refused)

    def _mark(self, number: int) -> Path:
        """Return the file that says that a shard is finished: shards without an image have no parquet file."""
        return self.folder / _FINISHED / f"{number:06d}.json"


def _plan_in(folder: Path) -> _Plan:
    file = folder / _PLAN
    if not file.is_file():
        raise InputError(f"There is nothing to resume: no `{file}`. Leave out --resume.")
    try:
        return _Plan.model_validate_json(file.read_bytes())
    except (pydantic.ValidationError, OSError) as error:
        raise InputError(f"`{file}` is damaged. Name another --out to begin anew. ({error})") from error


def predict_here(shards: Shards, *, device: str | None = None) -> Iterator[int]:
    """Predict the unfinished shards in this process.

    Args:
        shards: the folder.
        device: such as "cuda"; the best of this machine by default.

    Yields:
        How many images each shard has, as they are finished.
    """
    predictor = load_image_predictor(shards.model, device=device)
    for number in shards.unfinished():
        shards.predict(number, shards.parts[number], predictor)
        yield len(shards.parts[number])
