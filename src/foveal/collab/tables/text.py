"""Text to columns, quickly and small: of a column only its different cells become objects of Python.

A column of text is categorical; its categories are the cells as they are written, and an empty one is missing.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from foveal.collab.tables.words import claim_of
from foveal.core.errors import TableError
from foveal.core.packed import unpacked
from foveal.sources.delimited import decode_text
from foveal.sources.items import Finding

HEAD = 1 << 18
"""Bytes by which a layout is recognised."""
_PROBED = 200  # lines by which a separator is chosen
_REGULAR = 0.9  # of the lines have the same number of cells, if it is the separator; chosen by hand
_UNIT = "\x1f"  # the separator of ASCII, in place of `::`, which the reader takes for two
_SEPARATORS = ("::", "\t", ";", "|", ",", " ")
_BLOCK = 1 << 24  # bytes of a block; a row must fit into one
_BLOCK_HEAD = re.compile(rb"\s*\d+:\n")
"""The first line of a file of the Netflix prize: a film, whose ratings follow in a line each."""
_BLOCK_NAMES = ("item", "user", "rating", "date")
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*")
_NUMERIC = 0.9  # of the cells of a column of numbers; the others are blank or bad


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text is written.

    Attributes:
        separator: of the cells.
        is_quoted: whether cells may stand in quotes.
        n_columns: of a line.
        names: of the columns, where there is a header.
        n_above: lines above the first row.
        rows: the first rows, as texts.
    """

    separator: str
    is_quoted: bool
    n_columns: int
    names: tuple[str, ...] | None
    n_above: int
    rows: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, or their numbers as words."""
        return self.names or tuple(f"column {at + 1}" for at in range(self.n_columns))

    def sample(self) -> pd.DataFrame:
        """Return the first rows as a table of texts."""
        rows = [[cell or None for cell in row] for row in self.rows]
        return pd.DataFrame(rows, columns=list(self.columns), dtype=object)


@dataclass(frozen=True, slots=True)
class Text:
    """A text table before its columns are read: UTF-8, and lines end as on Unix.

    Attributes:
        name: of the file.
        data: the bytes.
        layout: how it is written.
        notes: about its encoding.
    """

    name: str
    data: bytes
    layout: Layout
    notes: tuple[Finding, ...] = ()
    broken: list[tuple[int, int]] = field(default_factory=list)

    def read(self, columns: Sequence[str], numbers: Sequence[str] = ()) -> pd.DataFrame:
        """Return columns; rows with another number of cells than the rest are left out and stand in `broken`.

        Args:
            columns: to read.
            numbers: those that are all numbers; where one is not, it is read as text.

        Raises:
            TableError: it cannot be read as a table.
        """
        numeric = list(numbers)
        while True:
            try:
                return self._read(columns, numeric)
            except pa.ArrowInvalid as error:
                failed = re.search(r"column #(\d+)", str(error))
                if failed is None or not numeric:
                    raise TableError(f"`{self.name}` cannot be read as a table: {error}") from error
                name = self.layout.columns[int(failed[1])]
                numeric = [one for one in numeric if one != name] if name in numeric else []

    def _read(self, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
        layout, broken = self.layout, self.broken
        broken.clear()

        def note(row: arrow_csv.InvalidRow) -> str:
            if row.text.strip():
                broken.append((row.number - 1, row.actual_columns))
            else:
                broken.append((row.number - 1, 0))
            return "skip"

        separator = _UNIT if layout.separator == "::" else layout.separator
        is_escaped = layout.is_quoted and b'\\"' in self.data
        kinds = {name: pa.dictionary(pa.int32(), pa.string()) for name in columns}
        table = arrow_csv.read_csv(
            pa.BufferReader(self.data),
            arrow_csv.ReadOptions(
                column_names=list(layout.columns), skip_rows=layout.n_above, block_size=_BLOCK, use_threads=False
            ),
            arrow_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if layout.is_quoted else False,
                escape_char="\\" if is_escaped else False,
                newlines_in_values=layout.is_quoted,
                invalid_row_handler=note,
            ),
            arrow_csv.ConvertOptions(
                column_types=kinds | {name: pa.float64() for name in numbers},
                include_columns=list(columns),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        read = {}
        for name in columns:
            read[name] = _column(table.column(name))
            table = table.drop_columns([name])
        pa.default_memory_pool().release_unused()
        return pd.DataFrame(read, copy=False)

    def lines(self, rows: Sequence[int]) -> list[int]:
        """Return the lines of the file, from 1, that rows begin on.

        Args:
            rows: positions among the rows that were read.
        """
        whole = np.frombuffer(self.data, dtype=np.uint8)
        ends = np.append(np.flatnonzero(whole == ord("\n")), len(whole))
        starts = np.append(0, ends[:-1] + 1)
        filled = np.flatnonzero(ends > starts)
        filled = filled[filled >= self.layout.n_above]
        if self.layout.is_quoted:
            filled = filled[_begins(self.data, starts, filled)]
        filled = np.delete(filled, [at for at, _ in self._ordinals() if at < len(filled)])
        return [int(filled[row]) + 1 if row < len(filled) else 0 for row in rows]

    def _ordinals(self) -> list[tuple[int, int]]:
        """Return the rows that were left out, as positions among all rows."""
        return [(at - self.layout.n_above, n) for at, n in self.broken]

    def broken_lines(self) -> list[tuple[int, int]]:
        """Return (line, cells) of the rows that have another number of cells than the rest."""
        kept = replace(self, broken=[])
        at = [row for row, n in self._ordinals() if n]
        return list(zip(kept.lines(at), [n for _, n in self._ordinals() if n], strict=True))


def _begins(data: bytes, starts: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Return which lines begin a row: those before which the number of quotes is even."""
    quotes = np.frombuffer(data, dtype=np.uint8) == ord('"')
    if not quotes.any():
        return np.ones(len(filled), bool)
    before = np.cumsum(quotes, dtype=np.int64)
    return np.asarray(np.where(starts[filled] > 0, before[starts[filled] - 1] % 2, 0) == 0)


def _column(column: pa.ChunkedArray) -> pd.Series:
    if not pa.types.is_dictionary(column.type):
        return pd.Series(column.to_numpy())
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    cells = pd.Index(whole.dictionary.to_pylist(), dtype=object)
    return pd.Series(pd.Categorical.from_codes(codes, categories=cells))


def load_text(file: Path, encoding: str | None = None, *, most: int | None = None) -> Text:
    """Return a text table with its bytes, and how it is written.

    Args:
        file: with whatever ending; perhaps packed with gzip.
        encoding: of the text; found out by default.
        most: bytes to read, to look at the head alone.

    Raises:
        TableError: it is no text table; the message says why.
    """
    with file.open("rb") as stream:
        data = stream.read(-1 if most is None else most)
        if data.startswith(b"\x1f\x8b"):
            stream.seek(0)
            data = unpacked(stream, file, most)
    if data.startswith(b"version https://git-lfs"):
        raise TableError(f"`{file}` is only a pointer of Git LFS: fetch the file itself with `git lfs pull`.")
    if data.startswith(b"PK\x03\x04"):
        raise TableError(f"`{file}` cannot be read as a table: it is a ZIP archive or a workbook. Unpack it.")
    return text_of(data, file.name, encoding, is_whole=most is None or len(data) < most)


def text_of(data: bytes, name: str, encoding: str | None = None, *, is_whole: bool = True) -> Text:
    """Return bytes as a text table.

    Args:
        data: as they stand in the file.
        name: of the file.
        encoding: of the text; found out by default.
        is_whole: whether this is the whole file; otherwise its last line may be cut.

    Raises:
        TableError: it is empty, or its lines have no separator in common.
    """
    if not is_whole:
        data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1] or data
    notes: list[Finding] = []
    if encoding is not None or not _is_utf8(data):
        text, notes = decode_text(data, name, encoding)
        data = text.encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.strip():
        raise TableError(f"`{name}` cannot be read as a table: it is empty.")
    is_blocks = _BLOCK_HEAD.match(data) is not None
    if is_blocks:
        data = _without_blocks(data)
    layout = _layout(data[:HEAD].decode(errors="ignore"), name, is_whole=is_whole and len(data) <= HEAD)
    if layout.separator == "::":
        data = data.replace(b"::", _UNIT.encode())
    if is_blocks and layout.names is None:
        layout = replace(layout, names=_BLOCK_NAMES[: layout.n_columns])
    if layout.separator == " ":
        data = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data)
        data = re.sub(rb"[ \t]+", b" ", data)
    return Text(name, data, layout, tuple(notes))


def _without_blocks(data: bytes) -> bytes:
    """Return ratings in blocks with the item in front of each; a line that names an item becomes blank."""
    parts = re.split(rb"(?m)^[ \t]*(\d+):[ \t]*$", data)
    made = [parts[0]]
    for item, block in zip(parts[1::2], parts[2::2], strict=True):
        made.append(re.sub(rb"(?m)^(?=.)", item + b",", block))
    return b"".join(made)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return b"\0" not in data[:HEAD]
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _BLOCK):
            decoder.decode(data[start : start + _BLOCK], final=start + _BLOCK >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def _layout(head: str, name: str, *, is_whole: bool) -> Layout:
    lines = head.split("\n")
    if not is_whole and len(lines) > 1:
        lines.pop()
    n_above, given, remark = 0, None, ""
    if match := re.fullmatch(r"""["']?sep=(.)["']?""", lines[0], re.IGNORECASE):
        given, n_above = match[1], 1
    while n_above < len(lines) and (lines[n_above].startswith(("#", "%")) or not lines[n_above].strip()):
        remark, n_above = lines[n_above].lstrip("#% ") or remark, n_above + 1
    body = [line for line in lines[n_above:] if line.strip()]
    if not body:
        raise TableError(f"`{name}` cannot be read as a table: it has no rows.")
    separator, is_quoted, n = _separator(body[:_PROBED], given, name)
    rows = [row for row in split_lines(body, separator, is_quoted=is_quoted) if len(row) == n]
    first = split_lines(body[:1], separator, is_quoted=is_quoted)[0]
    names: tuple[str, ...] | None = None
    if _is_header(first, rows[1:] if rows and rows[0] == first else rows):
        names = _names(first, n)
        while not lines[n_above].strip():
            n_above += 1
        n_above += 1
        rows = rows[1:] if rows and rows[0] == first else rows
    elif remark and len(words := split_lines([remark], separator, is_quoted=False)[0]) == n and _is_header(words, rows):
        names = _names(words, n)
    return Layout(separator, is_quoted, n, names, n_above, tuple(map(tuple, rows)))


def split_lines(lines: Iterable[str], separator: str, *, is_quoted: bool) -> list[list[str]]:
    """Return the cells of lines.

    Args:
        lines: of a text.
        separator: of the cells; a space stands for any number of them.
        is_quoted: whether cells may stand in quotes.
    """
    if separator == " ":
        return [line.split() for line in lines]
    if separator == "::" or not is_quoted:
        return [line.split(separator) for line in lines]
    lines = list(lines)
    escape = "\\" if any('\\"' in line for line in lines) else None
    return list(csv.reader(lines, delimiter=separator, escapechar=escape))


def _separator(lines: Sequence[str], given: str | None, name: str) -> tuple[str, bool, int]:
    """Return the separator by which most lines have the same number of cells, of several the most; and that number.

    Raises:
        TableError: there is no such separator.
    """
    best: tuple[float, str, bool, int] | None = None
    for separator in (given,) if given else _SEPARATORS:
        is_quoted = _is_quoted(lines, separator)
        counts = Counter(map(len, split_lines(lines, separator, is_quoted=is_quoted)))
        n, n_lines = counts.most_common(1)[0]
        share = n_lines / counts.total()
        if n > 1 and (given or share >= _REGULAR or (len(lines) < 10 and share > 0.5)):
            rank = n + (100 if separator == "::" else -0.5 if separator == " " else 0)
            if best is None or (rank > best[0] and (separator != " " or best is None)):
                best = (rank, separator, is_quoted, n)
    if best is None:
        shown = lines[0].strip()[:60]
        raise TableError(
            f"`{name}` cannot be read as a table: expected lines of the same number of cells, separated by a comma, "
            f"semicolon, tab, `|` or `::`; its first line is `{shown}`."
        )
    return best[1:]


def _is_quoted(lines: Sequence[str], separator: str) -> bool:
    """Return whether quotes stand around cells; in a name they are a part of it."""
    if separator in {"::", " "}:
        return False
    cut = re.escape(separator)
    opened = sum(len(re.findall(rf'(?:^|{cut}) ?"', line)) for line in lines)
    if separator in {",", ";"}:
        return opened > 0
    closed = sum(len(re.findall(rf'"(?:$|{cut})', line)) for line in lines)
    return opened > 0 and opened == closed == sum(line.count('"') for line in lines) / 2


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first line names columns: its cells are no numbers where those below are, or usual names."""
    if any(cell.strip() and _NUMBER.fullmatch(cell) for cell in first):
        return _is_numbered(first)
    n_named = sum((claim := claim_of(cell)) is not None and claim.score > 0 and len(cell) < 30 for cell in first)
    numeric = [column for column in zip(*rows, strict=False) if is_numeric(column)]
    return bool(numeric) or n_named >= min(2, len(first))


def _is_numbered(first: Sequence[str]) -> bool:
    """Return whether a line names users first and then items by their numbers in order."""
    claim = claim_of(first[0])
    rest = [cell.strip() for cell in first[1:]]
    return (
        (claim is not None or not first[0].strip())
        and all(cell.isdigit() for cell in rest)
        and len(set(rest)) == len(rest) > 2
    )


def is_numeric(cells: Iterable[object]) -> bool:
    """Return whether most cells that are not blank are numbers."""
    filled = [text for cell in cells if cell is not None and (text := str(cell).strip())]
    return bool(filled) and sum(_NUMBER.fullmatch(text) is not None for text in filled) >= _NUMERIC * len(filled)


def _names(cells: Sequence[str], n: int) -> tuple[str, ...]:
    """Return names of columns without spaces and quotes around them; one that is blank or there twice gets a number."""
    names: list[str] = []
    for at in range(n):
        plain = cells[at].strip().strip("\"'").strip() if at < len(cells) else ""
        name, k = plain or f"column {at + 1}", 1
        while name in names:
            name, k = f"{plain}.{k}", k + 1
        names.append(name)
    return tuple(names)
