"""The split from a file of its own, for a source of any format: a table with a column of sides, or a list of names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from foveal.core import storage
from foveal.core.errors import InputError, TableError, near_match
from foveal.core.grouping import by_any_name
from foveal.sources.cells import is_blank, text_of
from foveal.sources.columns import SPLIT_COLUMNS, VALID_COLUMNS, Columns
from foveal.sources.delimited import decode_text
from foveal.sources.finder import clean_name
from foveal.sources.frames import load_frame
from foveal.sources.items import Finding, Item, Source
from foveal.sources.sides import Side, side_of_cell

_LISTS = (".txt", ".lst", "")  # endings of files with a name per line


def with_split_file(source: Source, path: Path, base: Path) -> Source:
    """Return a source with the split that a file gives; its own is set aside.

    Args:
        source: of any format.
        path: a table with a column of images and one of sides (`is_valid`, or `split` with train, valid, test), such as
            the split.csv of a run; or a .txt with the name of a validation image on each line, all others train.
        base: the folder that names are relative to; the name of a file is enough where only one has it.

    Returns:
        The source; items of the test side are in `test`.

    Raises:
        InputError: an image of the source has no side, or the file names none of its images.
        TableError: the table has no such columns, or a cell names no side.
    """
    items = [*source.items, *source.test]
    by_name = _by_name(items, storage.whole_path(base))
    sides = _sides(path, base)
    found = {at: side for name, side in sides.items() if (at := by_name.get(name)) is not None}
    unknown = [name for name in sides if name not in by_name]
    if not found:
        raise InputError(f"`{path}` names no image of the source. It begins with `{next(iter(sides), '')}`.")
    if path.suffix.lower() in _LISTS:
        found = {at: found.get(at, "train") for at in range(len(items))}
    if lacking := [at for at in range(len(items)) if at not in found]:
        name = items[lacking[0]].image.name
        near = near_match(name, unknown)
        raise InputError(
            f"`{path}` gives no side to {len(lacking):,} of {len(items):,} images, such as `{name}`.{near}"
        )
    placed = [replace(item, is_valid=found[at] == "valid") for at, item in enumerate(items)]
    notes = [*source.notes, *(["Its own split is set aside for that file."] if source.has_split else [])]
    findings = list(source.findings)
    if unknown:
        hint = "They are not used. Are they spelt as in the source?"
        findings.append(Finding("warning", f"names in {path.name} without an image", "", ", ".join(unknown[:3]), hint))
    return replace(
        source,
        items=[item for at, item in enumerate(placed) if found[at] != "test"],
        test=[replace(item, is_valid=None) for at, item in enumerate(placed) if found[at] == "test"],
        notes=tuple(notes),
        findings=tuple(findings),
    )


def _by_name(items: Iterable[Item], base: Path) -> dict[str, int]:
    """Return positions by what a file may call an image: its path below the folder, or its name with ending or not."""

    def names_of(item: Item) -> tuple[tuple[str, ...], tuple[str, ...]]:
        path = storage.whole_path(item.image)
        whole = path.relative_to(base) if path.is_relative_to(base) else path
        short = (path.name, path.stem, whole.with_suffix("").as_posix())
        return (clean_name(whole.as_posix()), path.as_posix()), tuple(map(clean_name, short))

    return by_any_name((at, *names_of(item)) for at, item in enumerate(items))


def _sides(path: Path, base: Path) -> dict[str, Side]:
    """Return the sides that a file gives, by name."""
    if not path.is_file():
        raise InputError(f"There is no file `{path}` with a split.")
    if path.suffix.lower() in _LISTS:
        text, _ = decode_text(path.read_bytes(), path.name)
        return {clean_name(line): "valid" for line in text.splitlines() if line.strip()}
    frame, _ = load_frame(path)
    columns = Columns(frame, path.name, (base,), base)
    image = columns.image(None)
    side = columns.usual(VALID_COLUMNS) or columns.usual(SPLIT_COLUMNS)
    if side is None:
        raise TableError(
            f"`{path.name}` has no column of sides, such as `is_valid` or `split`; it has {columns.listed}."
        )
    sides: dict[str, Side] = {}
    for row, (name, cell) in enumerate(zip(frame[image].tolist(), frame[side].tolist(), strict=True), 2):
        found = None if is_blank(cell) else side_of_cell(cell)
        if found is None:
            raise TableError(
                f"`{path.name}`, row {row}: `{side}` must be true, false or the name of a side; got {cell!r}."
            )
        if sides.setdefault(clean_name(text_of(name)), found) != found:
            raise TableError(f"`{path.name}`, row {row}: {name} is on two sides.")
    return sides
