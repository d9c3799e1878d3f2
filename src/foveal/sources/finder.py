"""From an image's name as a source writes it to its file: as written, or else where exactly one file can be meant."""

from __future__ import annotations

import filecmp
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from foveal.core.errors import near_match
from foveal.images.parquet_rows import row_of
from foveal.sources.cells import INVISIBLE
from foveal.sources.items import Finding, missing_image
from foveal.sources.sides import Side, side_of_path
from foveal.sources.tree import is_image_name, tree_of

_INVISIBLE = dict.fromkeys(map(ord, INVISIBLE.strip("\u00a0 \t\r\n")))
_MOST_HINTS = 20  # missing images whose name is compared with all others; difflib takes 1 ms for 1,000 names
_SHOWN = 3
_LONGEST = 150  # characters of a name that a message shows
_MOST_AS_WRITTEN = 0.5  # of the images; chosen by hand
_BESIDE = re.compile(
    r"(?i)(?:.*[_\W])?(masks?|segmentation|labels?|annotations?|overlays?|thumb\w*|preds?|predictions?|ground.?truth)"
    r"(?:[_\W].*)?"
)


def clean_name(name: str) -> str:
    """Return a name with slashes as here, one form for accents, and without what nobody sees.

    Args:
        name: a path or file name as a source writes it.
    """
    text = unicodedata.normalize("NFC", name.translate(_INVISIBLE)).strip().strip("\u00a0")
    text = text.replace("\\", "/")
    while text.startswith("./"):
        text = text[2:]
    return text


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An image that a source names.

    Attributes:
        names: of its file; several readings of one name, the likeliest first.
        origin: where it is named, for findings.
        side: of the split, where it is given: of two files of a name, that in the folder of the side is meant.
        bases: the folders that the name is relative to, the likeliest first.
    """

    names: tuple[str, ...]
    origin: str
    side: Side | None = None
    bases: tuple[Path, ...]


@dataclass(slots=True)
class ImageFinder:
    """Finds the images of one source; what was not found as it is written is named in `findings`.

    Attributes:
        root: the folder below which an image is searched for that is not where its name says.
        hint: what to do if an image is missing.
    """

    root: Path
    hint: str = ""
    findings: list[Finding] = field(default_factory=list)
    _present: dict[Path, dict[str, str]] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _last: tuple[Path | None, dict[str, str]] = field(default=(None, {}))

    def resolve(self, wanted: Sequence[Wanted]) -> list[Path | None]:
        """Return the file of each image, None where it does not exist; then a finding names it.

        Args:
            wanted: the images.
        """
        written = [self._as_written(one) for one in wanted]
        found = [file for file, _ in written]
        lost = [at for at, file in enumerate(found) if file is None]
        loose = [at for at, (_, is_exact) in enumerate(written) if not is_exact]
        reasons: dict[int, str] = {}
        # Where most are as written, the others are missing, and a file of that name elsewhere is another image.
        n_wanted, n_lost = (Counter(wanted[at].bases for at in some) for some in (range(len(wanted)), lost))
        for at in lost:
            if n_lost[wanted[at].bases] > n_wanted[wanted[at].bases] * _MOST_AS_WRITTEN:
                found[at], reasons[at] = self._search(wanted[at])
        meant: dict[Path, set[str]] = defaultdict(set)
        if loose:
            for file, one in zip(found, wanted, strict=True):
                if file is not None:
                    meant[file].add(one.names[0])
        for at in loose:
            if (file := found[at]) is not None and len(meant[file]) > 1:
                other = min(meant[file] - {wanted[at].names[0]})
                found[at], reasons[at] = None, f"`{file}` could be meant, but just as well by `{other}`."
        self._used = {file.name for file in found if file is not None} if lost else set()
        self._report(wanted, found, reasons)
        self._note([(wanted[at], found[at]) for at in lost])
        return found

    def _report(self, wanted: Sequence[Wanted], found: Sequence[Path | None], reasons: dict[int, str]) -> None:
        n = 0
        for at, (file, one) in enumerate(zip(found, wanted, strict=True)):
            if file is None:
                n += 1
                name = one.names[0]
                more = reasons.get(at) or (self._near(one) if n <= _MOST_HINTS else "")
                shown = (
                    str(one.bases[0] / name) if len(name) <= _LONGEST else f"{name[:60]}… ({len(name):,} characters)"
                )
                hint = " ".join(filter(None, (more, self.hint)))
                self.findings.append(missing_image(one.origin, shown, hint))

    def _note(self, found: Iterable[tuple[Wanted, Path | None]]) -> None:
        folders = Counter(os.path.relpath(file.parent, one.bases[0]) for one, file in found if file is not None)
        if folders:
            shown = ", ".join(f"{folder}/" for folder, _ in folders.most_common(_SHOWN))
            value = f"{folders.total():,} images, in {shown}" + (", …" if len(folders) > _SHOWN else "")
            hint = "They were found by their names; say --images if others are meant."
            self.findings.append(Finding("note", "images found elsewhere than their names say", "", value, hint))

    def _near(self, one: Wanted) -> str:
        name = PurePosixPath(clean_name(one.names[0]))
        known = sorted(set(self._listing(one.bases[0] / name.parent).values()))
        known = known or [image.name for image in tree_of(self.root).images]
        return near_match(name.name, [one for one in known if one not in self._used]).strip()

    def _as_written(self, wanted: Wanted) -> tuple[Path | None, bool]:
        """Return the file where the name says it is, and whether it does so in its likeliest reading."""
        base, first = wanted.bases[0], wanted.names[0]
        if base is not self._last[0]:
            self._last = (base, self._listing(base))
        if (name := self._last[1].get(first)) is not None:  # nearly all are so
            return base / name, True
        for number, name in enumerate(wanted.names):
            for folder in wanted.bases:
                if (file := self._at(folder, name)) is not None:
                    return file, number == 0
        return None, False

    def _at(self, folder: Path, name: str) -> Path | None:
        """Return the file of this name in a folder, or the row of a parquet file there, such as `train.parquet#17`.

        Accents, slashes and what is invisible may be written otherwise.
        """
        for written in dict.fromkeys((name, clean_name(name))):
            if not written or "\0" in written or written.endswith(("/", "..")):
                continue
            file = folder / written
            listed = self._listing(file.parent)
            other = listed.get(file.name) or listed.get(unicodedata.normalize("NFC", file.name))
            if other is not None:
                return file.parent / other
            if (row := row_of(file)) is not None and Path(row.table).name in listed:
                return file
        return None

    def _listing(self, folder: Path) -> dict[str, str]:
        """Return the names in a folder, also by their normal form, and of images by what stands before the ending.

        One listing is quicker than a question for every file.
        """
        if folder not in self._present:
            try:
                names = [file.name for file in folder.iterdir()]
            except (OSError, ValueError):  # no folder, or a name that no file system takes
                names = []
            images = [name for name in names if is_image_name(name)]
            stems = Counter(name.rpartition(".")[0] for name in images)
            short = {stem: name for name in images if stems[stem := name.rpartition(".")[0]] == 1}
            normal = {unicodedata.normalize("NFC", name): name for name in (*short, *names) if not name.isascii()}
            listed = short | {name: name for name in names}
            self._present[folder] = {key: listed[name] for key, name in normal.items()} | listed
        return self._present[folder]

    def _search(self, wanted: Wanted) -> tuple[Path | None, str]:
        """Return the image that a name can only mean, by as much of its path as there is; else the reason."""
        if not self.root.is_dir():
            return None, ""
        by_name = tree_of(self.root).by_name
        for name in wanted.names:
            parts = tuple(part for part in clean_name(name).lower().split("/") if part not in {"", ".", ".."})
            if not parts:
                continue
            candidates = by_name.get(parts[-1], []) or tree_of(self.root).by_number.get(_number(parts[-1]), [])
            if not candidates:
                continue
            candidates = [file for file in candidates if not self._is_beside(file, parts)] or candidates
            shared = {file: _n_shared(parts, file) for file in candidates}
            best = [file for file in candidates if shared[file] == max(shared.values())]
            best = _on_side(best, wanted.side, self.root)
            if len(best) == 1 or all(filecmp.cmp(best[0], other, shallow=False) for other in best[1:]):
                return best[0], ""  # copies of one file are one image
            places = " and ".join(str(file.relative_to(self.root)) for file in best[:2])
            return None, f"More than one file can be meant: {places}."
        return None, ""

    def _is_beside(self, file: Path, parts: tuple[str, ...]) -> bool:
        """Return whether a file lies among masks, thumbnails or the like, which its name does not say."""
        folders = file.relative_to(self.root).parts[:-1]
        return any(_BESIDE.fullmatch(folder) and folder.lower() not in parts for folder in folders)


def _number(name: str) -> int:
    """Return the number that a name is, such as 7 for `007`; -1 if it is no number."""
    return int(name) if name.isascii() and name.isdigit() else -1


def _on_side(files: list[Path], side: Side | None, root: Path) -> list[Path]:
    """Return those of several files that lie in a folder of the side, if any do."""
    if side is None or len(files) == 1:
        return files
    return [file for file in files if side_of_path(file, root) == side] or files


def _n_shared(parts: tuple[str, ...], file: Path) -> int:
    """Return how many parts two paths share from the end, besides the name."""
    n = 0
    for one, other in zip(reversed(parts[:-1]), reversed(file.parts[:-1]), strict=False):
        if one != other.lower():
            break
        n += 1
    return n
