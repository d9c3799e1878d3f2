"""The settings of a run: what the command line says, what run.toml holds, one and the same."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from foveal.core import storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import SEEDS, check_seed
from foveal.reporting import page

RECIPES = ("probe", "book")
TASKS = ("auto", "multi-label", "single-label", "points", "regression", "rating")


class RunSettings(BaseModel):
    """Everything that decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Path
    images: Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    valid_column: str | None = None
    label_delimiter: str | None = None
    empty: str = "error"
    label_columns: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    point_names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] = ()
    group_column: str | None = None
    on_bad: str = "stop"
    task: str = "auto"
    recipe: str = "auto"
    arch: str = "tf_efficientnet_lite0"
    weights: Path | None = None
    size: tuple[int, int] = (224, 224)
    min_scale: float = Field(default=0.5, gt=0, le=1)
    epochs: int | None = Field(default=None, ge=1)
    freeze_epochs: int | None = Field(default=None, ge=0)
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    time: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 64
    seed: int = Field(default=0, ge=SEEDS.start, lt=SEEDS.stop)
    seeds: int | None = Field(default=None, ge=2)
    folds: int | None = Field(default=None, ge=2)
    fold: int | None = Field(default=None, ge=0)
    split_seed: int | None = Field(default=None, ge=SEEDS.start, lt=SEEDS.stop)
    by: tuple[str, ...] = ()
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    implicit: bool = False
    factors: int = Field(default=50, ge=1)
    precision: str = "auto"
    measured: dict[int, Literal["fp32", "bf16", "fp16"]] = Field(default_factory=dict)
    embed_images: bool = True

    @property
    def repeats(self) -> bool:
        """Whether these are settings of several runs."""
        return self.seeds is not None or (self.folds is not None and self.fold is None)

    @property
    def has_images(self) -> bool:
        """Whether a run reads images; ratings have none."""
        return self.task != "rating"

    def require_images(self) -> None:
        """Refuse settings of ratings.

        Raises:
            InputError: there are no images to read.
        """
        if not self.has_images:
            raise InputError(
                "A table of ratings holds no images: `foveal train --task rating` reads and checks it itself."
            )

    @classmethod
    def checked(cls, **values: Any) -> RunSettings:
        """Build settings from the command line or a file.

        Raises:
            InputError: a value is out of range; all are named.
            UnknownNameError: there is no such setting, task or way to treat empty cells.
        """
        for name in values:
            if name not in cls.model_fields:
                raise UnknownNameError.of("setting", name, cls.model_fields)
        try:
            settings = cls.model_validate(values)
        except pydantic.ValidationError as error:
            found = [f"--{e['loc'][0]} {e['input']}: {e['msg']}".replace("_", "-") for e in error.errors()]
            raise InputError("; ".join(found)) from error
        if settings.time is not None and settings.epochs is not None:
            raise InputError("--time and --epochs both say how long to train: give one of them.")
        check_seed(settings.seed + (settings.seeds or 1) - 1)
        if settings.seeds is not None and settings.folds is not None:
            raise InputError("--seeds repeats one split and --folds one seed: give one of them.")
        if settings.repeats and not settings.has_images:
            raise InputError("--seeds and --folds are for images; ratings train once: leave them out.")
        for what, given, known in (
            ("task", settings.task, TASKS),
            ("recipe", settings.recipe, ("auto", *RECIPES)),
            ("way to treat empty cells", settings.empty, ("error", "none")),
            ("way to treat bad images", settings.on_bad, ("stop", "skip")),
        ):
            if given not in known:
                raise UnknownNameError.of(what, given, known)
        return settings

    @classmethod
    def load(cls, path: Path) -> RunSettings:
        """Read a run.toml."""
        try:
            return cls.checked(**tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"`{path}` cannot be read as the settings of a run: {error}") from error

    def save(self, path: Path) -> None:
        """Write a run.toml that repeats the run from anywhere."""
        stored = self.model_dump(mode="json", exclude_none=True)
        stored["measured"] = {str(n_frozen): precision for n_frozen, precision in self.measured.items()}
        for name in ("table", "images", "weights"):
            if name in stored:
                stored[name] = str(Path(stored[name]).absolute())
        storage.write_text(path, tomli_w.dumps(stored))


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width).

    >>> parse_size("128"), parse_size("240x320")
    ((128, 128), (240, 320))
    """
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if found is None or int(found[1]) < 1 or (found[2] is not None and int(found[2]) < 1):
        raise InputError(f"--size is a number of pixels or HEIGHTxWIDTH, like 128 or 240x320; got {text!r}.")
    return int(found[1]), int(found[2] or found[1])


def parse_bytes(text: str) -> int:
    """Return a number of bytes.

    >>> parse_bytes("20MB"), parse_bytes("1.5 kB"), parse_bytes("512")
    (20000000, 1500, 512)
    """
    found = re.fullmatch(r"([0-9.]+)\s*(|k|m|g)b?", text.strip().lower())
    try:
        n = 0 if found is None else int(float(found[1]) * 1000 ** ("", "k", "m", "g").index(found[2]))
    except ValueError:
        n = 0
    if n < 1:
        raise InputError(f"A size is a number of bytes like 20MB or 512kB; got {text!r}.")
    return n


def parse_time(text: str) -> float | None:
    """Return minutes, or None for `auto`.

    >>> parse_time("2.5"), parse_time("auto")
    (2.5, None)
    """
    try:
        return None if text.strip().lower() == "auto" else float(text)
    except ValueError:
        raise InputError(f"--time is a number of minutes, or auto; got {text!r}.") from None


def parse_names(text: str | None) -> tuple[str, ...]:
    """Split column names at commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def parse_pairs(text: str | None) -> tuple[tuple[str, str], ...]:
    """Split pairs of names.

    >>> parse_pairs("left eye:right eye,left ear:right ear")
    (('left eye', 'right eye'), ('left ear', 'right ear'))
    """
    pairs = [name.partition(":") for name in parse_names(text)]
    for first, colon, second in pairs:
        if not (first and colon and second):
            raise InputError(f"--flip-pairs is FIRST:SECOND[,FIRST:SECOND...]; got {text!r}.")
    return tuple((first.strip(), second.strip()) for first, _, second in pairs)


def number(value: float) -> str:
    """Return a number as a person reads it."""
    return page.number(value, digits=4)


def timing_lines(timings: Mapping[str, float]) -> str:
    """Return what seconds were spent on, in lines of 80 columns."""
    entries = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.items())
    return textwrap.fill(f"seconds: {entries or 'not counted'}", 80, initial_indent="  ", subsequent_indent="    ")
