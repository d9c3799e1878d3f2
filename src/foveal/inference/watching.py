"""A folder in which a service counts what it answered, hour by hour, and what becomes of that.

FOLDER/MODEL, named by the first 16 characters of the bundle's hash, holds `model.json` (the name, and what the model
answered on its validation images) and one file of counts for each hour and process. No image, no name of one and no
single answer is in it; files of hours that nobody asks about may be deleted.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from pathlib import Path

import pydantic

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.inference.reference import Drift, Tally, drift_of

_ABOUT = "model.json"
_HOUR = "%Y-%m-%dT%H"  # of UTC
_HASH_LENGTH = 16  # characters; chosen by hand, enough to tell a million models apart


class _About(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    sha256: str
    reference: Tally


@dataclass(frozen=True, slots=True)
class CountingFolder:
    """Where one process writes the counts of one model.

    Attributes:
        folder: of the model.
        process: tells this process from others, and from those before it.
    """

    folder: Path
    process: str

    @classmethod
    def begin(cls, root: Path, name: str, sha256: str, reference: Tally) -> CountingFolder:
        """Return the folder of a model, which is made.

        Args:
            root: of all models.
            name: of the model, for people.
            sha256: of its bundle.
            reference: what it answered on its validation images.

        Raises:
            InputError: it cannot be written to.
        """
        folder = root / sha256[:_HASH_LENGTH]
        storage.require_writable(folder / _ABOUT)
        storage.write_text(folder / _ABOUT, _About(name=name, sha256=sha256, reference=reference).model_dump_json())
        return cls(folder, secrets.token_hex(4))

    def write(self, hour: dt.datetime, counts: str) -> None:
        """Write the counts of an hour so far, in the place of those before.

        Args:
            hour: it began at, in UTC.
            counts: a `Tally` as JSON.

        Raises:
            OSError: they cannot be written.
        """
        storage.write_text(self.folder / f"{hour.strftime(_HOUR)}-{self.process}.json", counts)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a model was asked.

    Attributes:
        name: of the model.
        sha256: of its bundle.
        first: hour with counts, in UTC; None without any.
        last: hour with counts.
        drift: how far what it was asked differs from its validation images.
    """

    name: str
    sha256: str
    first: dt.datetime | None
    last: dt.datetime | None
    drift: Drift


def read_watched(root: Path, *, since: dt.datetime | None = None) -> list[Watched]:
    """Return what each model with counts in a folder was asked, the one asked last first.

    Args:
        root: the folder that `foveal serve --monitor` was given.
        since: counts of hours that ended before are left out, in UTC.

    Raises:
        InputError: there are no counts, or a file does not hold what its name says.
    """
    abouts = sorted(root.glob(f"*/{_ABOUT}"))
    if not abouts:
        raise InputError(
            f"`{root}` holds no counts of a service, as `foveal serve MODEL --monitor {root}` writes them. If it holds "
            f"images, name the model too: foveal monitor {root} --model MODEL"
        )
    found = [_read_model(path, since) for path in abouts]
    return sorted(found, key=lambda one: str(one.last or ""), reverse=True)


def _read_model(path: Path, since: dt.datetime | None) -> Watched:
    try:
        about = _About.model_validate_json(path.read_bytes())
    except (pydantic.ValidationError, OSError) as error:
        raise InputError(f"`{path}` does not say what a model answered on validation: {error}") from error
    total, hours = about.reference.emptied(), []
    for file in sorted(path.parent.glob("????-??-??T??-*.json")):
        try:
            hour = dt.datetime.strptime(file.name[:13], _HOUR).replace(tzinfo=dt.UTC)
            if since is not None and hour + dt.timedelta(hours=1) <= since:
                continue
            total.add_all(Tally.model_validate_json(file.read_bytes()))
        except (ValueError, OSError) as error:
            raise InputError(
                f"`{file}` holds no counts of this model ({error}). Delete it to continue without it."
            ) from error
        hours.append(hour)
    drift = drift_of(about.reference, total)
    return Watched(about.name, about.sha256, min(hours, default=None), max(hours, default=None), drift)
