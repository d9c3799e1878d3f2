"""Answers in shards: a parquet file for each part of the images, finished or absent; what is finished is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.core.tables import write_table
from foveal.images.decode import name_of
from foveal.inference.predictor import Predictor, Refused, load_image_predictor
from foveal.scale.answered import paired
from foveal.sources.addresses import Part, parts_of

_PLAN, _FINISHED, REFUSED = "_plan.json", "_finished", "_refused.csv"


class Finished(NamedTuple):
    """What became of a shard: how many images were answered, and the names and faults of the others."""

    answered: int
    refused: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of answers.

    Attributes:
        folder: where `part-000000.parquet` and so on are.
        model: the bundle that answers.
        parts: the images of each shard.
        batch_size: images at a time.
    """

    folder: Path
    model: Path
    parts: Sequence[Part]
    batch_size: int = 32

    @classmethod
    def begin(
        cls, folder: Path, model: Path, addresses: Sequence[str], *, size: int, batch_size: int, resume: bool
    ) -> Shards:
        """Write down the plan, or check that it is the one that an earlier run wrote.

        Raises:
            InputError: there is nothing at an address; the folder holds something else.
        """
        parts, names = list(parts_of(addresses, size)), hashlib.sha256()
        for part in parts:
            names.update(part.text.encode())
        plan = {"weights": storage.file_hash(model), "images": names.hexdigest()}
        file = folder / _PLAN
        if resume:
            if not file.is_file():
                raise InputError(f"There is nothing to go on with: no `{file}`. Leave out --resume.")
            before: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if differ := [name for name in plan if before.get(name) != plan[name]]:
                raise InputError(
                    f"`{folder}` was begun with other {' and '.join(differ)}. Leave out --resume and name another "
                    "folder to begin anew."
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"`{folder}` holds something already. Go on with --resume, or name another --out.")
        storage.write_json(file, plan)
        return cls(folder, model, parts, batch_size)

    def waiting(self) -> list[int]:
        """Return the numbers of the shards that are not finished."""
        return [number for number in range(len(self.parts)) if not self._mark(number).exists()]

    def answer(self, number: int, part: Part, predictor: Predictor, *, num_workers: int | None = None) -> None:
        """Answer for a part and write its shard, unless that is done."""
        if self._mark(number).exists():
            return
        rows: list[dict[str, Any]] = []
        refused: list[list[str]] = []
        for image, answer in paired(predictor, part.images(), self.batch_size, num_workers=num_workers):
            if isinstance(answer, Refused):
                refused.append([name_of(image), answer.error.reason])
            else:
                rows.append({"fname": name_of(image)} | predictor.task.to_row(answer.values, answer.label))
        if rows:
            write_table(self.folder / f"part-{number:06d}.parquet", rows)
        storage.write_json(self._mark(number), Finished(len(rows), refused)._asdict())

    def finish(self) -> Finished:
        """List the images that could not be used; return the counts of all shards."""
        marks = [json.loads(self._mark(at).read_text(encoding="utf-8")) for at in range(len(self.parts))]
        refused = [one for mark in marks for one in mark["refused"]]
        if refused:
            write_table(self.folder / REFUSED, (dict(zip(("fname", "refused"), one, strict=True)) for one in refused))
        return Finished(sum(mark["answered"] for mark in marks), refused)

    def _mark(self, number: int) -> Path:
        return self.folder / _FINISHED / f"{number:06d}.json"


def answered_here(shards: Shards, *, device: str | None = None) -> Iterator[int]:
    """Answer for the shards that wait, in this process; yield how many images each one had."""
    predictor = load_image_predictor(shards.model, device=device)
    for number in shards.waiting():
        shards.answer(number, shards.parts[number], predictor)
        yield len(shards.parts[number])
