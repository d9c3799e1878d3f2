"""Text tables: bytes to cells, in whatever encoding and with whatever separator they were written.

Cells stay text. Every row knows the line of the file that it begins on.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from foveal.core.errors import TableError
from foveal.core.packed import unpacked
from foveal.core.tables import restored
from foveal.sources.finder import clean_name
from foveal.sources.items import Finding
from foveal.sources.tree import is_image_name

LINES = "foveal_lines"
"""Where a frame keeps the line of each row, in its `attrs`."""
DECIMAL_COMMA = "foveal_decimal_comma"
"""Set in the `attrs` of a frame whose numbers may have a comma for a point."""
_SEPARATORS = ",;\t|"
_HEAD = 1 << 16
_PROBED = 50  # lines by which a separator is chosen
_EAST_ASIAN = {
    "cp932": re.compile("(?:[\u3040-\u30ff\u3000-\u303f]|[\u4e00-\u9fff]{2,})+"),
    "euc_kr": re.compile("[\uac00-\ud7af]{2,}"),
    "gb2312": re.compile("[\u4e00-\u9fff]{2,}"),
    "big5": re.compile("[\u4e00-\u9fff]{2,}"),
}
"""Encodings in the order in which they are tried, and what words are in them."""
_LETTER = re.compile("[A-Za-z]")
_CYRILLIC = re.compile("[\u0410-\u044f\u0401\u0451]{2,}")
_IN_WORDS = 0.6  # of the characters beyond ASCII stand in words; chosen by hand
_FIELDS = 1 << 24  # characters of a cell, at most; data: addresses of images have millions


class _Lines(list[int]):
    """The lines of rows, which pandas would copy with every step if they let it."""

    def __deepcopy__(self, _: object) -> _Lines:
        return self


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    findings: list[Finding]


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with numbers in the columns whose cells are all written as Python would write a number.

    `007`, `1.10` and `1e5` stay text, and so does their column; a blank leaves whole numbers whole.

    Args:
        frame: as `read_delimited` returns it.
    """
    columns = {name: _typed(frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index)


def _typed(column: pd.Series) -> pd.Series:
    cells = [None if cell is None else cell.strip() for cell in column.tolist()]
    for number in (int, float):
        try:
            values = [None if cell is None else number(cell) for cell in cells]
        except ValueError:
            continue
        if all(cell is None or str(value) == cell for cell, value in zip(cells, values, strict=True)):
            kind = object if number is int and None in values else None
            return pd.Series(values, column.index, dtype=kind)
    return column


def read_delimited(
    file: Path, encoding: str | None = None, separator: str | None = None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a text table; cells are text, and an empty one is None.

    Args:
        file: .csv, .tsv, .tab or .txt, perhaps with .gz behind.
        encoding: of the text; found out by default.
        separator: of the cells; found out by default.

    Returns:
        The table, and notes on how it is written. `attrs[LINES]` has the line of each row.

    Raises:
        TableError: it cannot be read; the message names the line.
    """
    data = file.read_bytes()
    if file.name.lower().endswith(".gz") or data.startswith(b"\x1f\x8b"):
        data = unpacked(io.BytesIO(data), file)
    if data.startswith(b"PK\x03\x04"):
        raise TableError(f"`{file}` cannot be read as a table: it is a ZIP archive or a workbook with another ending.")
    decoded = _decode(data, file.name, encoding)
    text, notes = decoded.text, decoded.findings
    start = 0
    if match := re.match(r"""["']?sep=(.)["']?\r?\n""", text, re.IGNORECASE):
        separator, text, start = separator or match[1], text[match.end() :], 1
    is_tabbed = file.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    separator = separator or _separator(text, "\t" if is_tabbed else ",")
    rows, lines = _rows(text, separator, file.name, start)
    if not rows:
        raise TableError(f"`{file}` cannot be read as a table: it is empty.")
    frame = _frame(rows, lines, file.name, notes)
    frame.attrs[DECIMAL_COMMA] = separator != ","
    if separator != ("\t" if is_tabbed else ","):
        name = {"\t": "tab", ";": "semicolon", ",": "comma"}.get(separator, separator)
        notes.append(Finding("note", "cells are not separated by the usual character", file.name, name))
    return frame, notes


def decode_text(data: bytes, name: str, encoding: str | None = None) -> tuple[str, list[Finding]]:
    """Return the text of a table and notes on how it is encoded.

    Args:
        data: the bytes.
        name: of the file, for messages.
        encoding: of the text; found out by default.

    Raises:
        TableError: it is not in that encoding.
    """
    decoded = _decode(data, name, encoding)
    return decoded.text, decoded.findings


def _decode(data: bytes, name: str, encoding: str | None) -> _Text:
    if encoding is not None:
        try:
            return _Text(data.decode(encoding).removeprefix("\ufeff"), [])
        except (UnicodeDecodeError, LookupError) as error:
            raise TableError(f"`{name}` is not in the encoding {encoding}: {error}") from error
    notes = []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _Text(_utf16(data, name, "utf-16"), [_note_utf16(name)])
    # Without a mark, every other byte of Latin text is 0.
    head = data[:_HEAD]
    if (
        head
        and (order := next((at for at in (0, 1) if head[at::2].count(0) > 0.4 * (len(head) // 2)), None)) is not None
    ):
        return _Text(_utf16(data, name, ("utf-16-be", "utf-16-le")[order]), [_note_utf16(name)])
    if data.startswith(codecs.BOM_UTF8):
        notes.append(Finding("note", "byte order mark at the start of the table", name, "", "It is left out."))
    if b"\r\n" in head:
        notes.append(Finding("note", "lines end as on Windows", name, "CRLF", "They are read as usual."))
    try:
        return _Text(data.decode("utf-8-sig"), notes)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found, text = _guess(data)
        odd = next((part for part in re.split(r"[,;\t\r\n|]", text) if not part.isascii()), "")
        hint = f"It is read as {found}, so that a cell is `{odd.strip()[:40]}`; say --encoding if that is wrong."
        return _Text(text, [*notes, Finding("warning", "table is not UTF-8", f"{name}, line {line}", "", hint)])


def _utf16(data: bytes, name: str, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"`{name}` begins as UTF-16, but is not: {error}") from error


def _note_utf16(name: str) -> Finding:
    return Finding("note", "table in UTF-16", name, "", "Save it as UTF-8 to be read everywhere.")


def _guess(data: bytes) -> tuple[str, str]:
    """Return the encoding of text that is not UTF-8: an East Asian one where it makes words, else a European one.

    Bytes of European letters among ASCII never make words of common East Asian characters. Japanese has kana, and
    Korean is written in hangul alone, which nothing else decodes to.
    """
    for encoding, words in _EAST_ASIAN.items():
        text = _decoded(data, encoding)
        if text is None:
            continue
        found = [match for match in words.finditer(text) if not _LETTER.match(text, match.end())]
        # A word that runs on into Latin letters is a misread European one.
        if sum(len(match[0]) for match in found) > _IN_WORDS * _n_odd(text):
            return encoding, text
    european = _european(data)
    if sum(char.isalpha() for char in european[1] if not char.isascii()) > _IN_WORDS * _n_odd(european[1]):
        return european
    for encoding in ("cp932", "gb2312", "euc_kr", "big5"):  # single characters, as a class may be called
        text = _decoded(data, encoding)
        if text is not None and all(char.isascii() or char.isalpha() for char in text):
            return encoding, text
    return european


def _european(data: bytes) -> tuple[str, str]:
    """Return the European encoding in which most odd characters are letters; Cyrillic has whole words of them."""
    best, most = ("latin-1", data.decode("latin-1")), 0.0
    for encoding in ("cp1252", "cp1250", "cp1251"):
        text = _decoded(data, encoding)
        if text is None:
            continue
        letters: float = sum(char.isalpha() for char in text if not char.isascii())
        if encoding == "cp1251":
            letters = sum(map(len, _CYRILLIC.findall(text))) * 1.01
        if letters > most:
            best, most = (encoding, text), letters
    return best


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _n_odd(text: str) -> int:
    return sum(not char.isascii() for char in text)


def _separator(text: str, usual: str) -> str:
    """Return the character that separates the cells of the first lines: the usual one wherever it does."""
    lines = [line for line in text[:_HEAD].splitlines()[:_PROBED] if line.strip()]
    if not lines:
        return usual
    best, most = usual, 1
    for separator in dict.fromkeys(usual + _SEPARATORS):
        counts = [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        n, times = Counter(counts).most_common(1)[0] if counts else (1, 0)
        steady = n > 1 and times >= 0.8 * len(counts) and counts[0] > 1
        if steady and separator == usual:
            return usual
        if steady and n > most:
            best, most = separator, n
    return best


def _rows(text: str, separator: str, name: str, start: int) -> tuple[list[list[str]], list[int]]:
    """Return the rows, without blank ones, and the line that each begins on, from 1.

    Raises:
        TableError: a line cannot be read; the message names it.
    """
    csv.field_size_limit(_FIELDS)
    physical = list(io.StringIO(text, newline=""))
    reader = csv.reader(physical, delimiter=separator)
    may_be_defused = "'" in text  # by a table that foveal wrote, of answers or of labels to correct
    rows: list[list[str]] = []
    lines: list[int] = []
    before = 0
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append([restored(cell) for cell in row] if may_be_defused else row)
                lines.append(before + 1 + start)
                if reader.line_num - before > 1:
                    _refuse_swallowed(rows, physical[before + 1 : reader.line_num], separator, name, lines[-1])
            before = reader.line_num
    except csv.Error as error:
        raise TableError(f"`{name}`, line {before + 1 + start}, cannot be read as a table: {error}") from error
    return rows, lines


def _refuse_swallowed(
    rows: Sequence[Sequence[str]], inner: Sequence[str], separator: str, name: str, line: int
) -> None:
    """Refuse a cell that extends over lines that are rows themselves: a quote that is not closed has swallowed them.

    A line is a row if it has as many cells as the header, and begins with one word where the swallowing row does.

    Raises:
        TableError: there is such a cell; the message names its line.
    """
    n, one_word = len(rows[0]), " " not in rows[-1][0].strip()
    for one in inner:
        first = one.partition(separator)[0].strip()
        is_row = one.count(separator) == n - 1 > 0 and first and '"' not in first and not (one_word and " " in first)
        in_sentence = f"{separator} " in one  # a comma and a space, as in a caption
        if (is_row and not in_sentence) or (len(rows[-1]) < n and n > 1):
            opened = next((cell for cell in rows[-1] if "\n" in cell or "\r" in cell), "")
            raise TableError(
                f'`{name}`, row {line}: a quote that is not closed (`"{opened.splitlines()[0][:40]}`) swallows the '
                f"{len(inner)} lines after it. Take it out, or double it."
            )


def _frame(rows: list[list[str]], lines: list[int], name: str, findings: list[Finding]) -> pd.DataFrame:
    header, *body = rows
    if any(is_image_name(clean_name(cell).split("?")[0]) for cell in header):
        header, body, lines = [f"column {at + 1}" for at in range(len(header))], rows, [0, *lines]
        value = f"its first line names an image; columns are called {header[0]}, …"
        findings.append(Finding("note", "table without a header", name, value))
    names = _header(header)
    n = len(names)
    while n > 1 and names[n - 1].startswith(_UNNAMED) and all(len(row) < n or not row[n - 1].strip() for row in body):
        n -= 1  # a separator at the end of every line
    kept: list[list[str]] = []
    kept_lines: list[int] = []
    for row, line in zip(body, lines[1:], strict=True):
        if len(row) != n:
            if any(cell.strip() for cell in row[n:]):
                value = f"{len(row)} cells, where the header has {n}"
                hint = "Put a cell that holds the separator into quotes."
                findings.append(Finding("error", "row with too many cells", f"{name}, row {line}", value, hint))
                continue
            kept.append(row[:n] + [""] * (n - len(row)))
        else:
            kept.append(row)
        kept_lines.append(line)
    if body and not kept:
        raise TableError(f"`{name}` cannot be read as a table: {findings[0].where} has {findings[0].value}.")
    columns = [[cell or None for cell in column] for column in zip(*kept, strict=True)] or [[]] * n
    frame = pd.DataFrame({at: pd.Series(columns[at], dtype=object) for at in range(n)})
    frame.columns = pd.Index(names[:n])
    frame.attrs[LINES] = _Lines(kept_lines)
    return frame


_UNNAMED = "Unnamed: "


def _header(cells: Sequence[str]) -> list[str]:
    """Return names of columns, without spaces around them; one that is empty or there twice gets a number."""
    names: list[str] = []
    for at, cell in enumerate(cells):
        name = clean_name(cell) or f"{_UNNAMED}{at}"
        n = 1
        while name in names:
            name, n = f"{clean_name(cell)}.{n}", n + 1
        names.append(name)
    return names
