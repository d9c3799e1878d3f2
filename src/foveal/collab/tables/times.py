"""Times in tables: seconds since 1970 or parts of them, dates as text or as numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

_EARLIEST, _LATEST = 631_152_000, 2_208_988_800  # seconds: 1990 and 2040; data with times are from between
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_DAY = re.compile(r"(19[89]|20[0-3])\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_TEXT = re.compile(r".*\d.*[-/.: ].*\d.*|\d{1,2}[- ]\w{3,9}[- ]\d{2,4}.*|\w{3,9} \d{1,2},? \d{4}.*")
_MOST = 0.95  # of the cells must be times; the others are blank or broken
_PROBED = 200  # cells


def looks_like_times(cells: Sequence[object], *, named: bool) -> bool:
    """Return whether cells hold times.

    Args:
        cells: without those that are missing.
        named: whether the name of their column says so; smaller numbers are then taken for times too.
    """
    texts = [text for cell in cells[:_PROBED] if (text := str(cell).strip())]
    if not texts:
        return False
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        if not all(_TEXT.fullmatch(text) for text in texts):
            return False
        return _share(parse_texts(pd.Index(texts).unique())) >= _MOST
    if named:
        return bool(np.isfinite(numbers).all())
    days = all(_DAY.fullmatch(text) for text in texts)
    return days or any(bool(((numbers >= _EARLIEST * k) & (numbers <= _LATEST * k)).all()) for k in _UNITS)


def parse_texts(cells: pd.Index) -> pd.DatetimeIndex:
    """Return texts as times in UTC; NaT where a text is no time.

    Args:
        cells: the different texts.
    """
    cells = pd.Index([re.sub(r"(?<=\d)\s*(st|nd|rd|th)\b", "", str(cell).strip()) for cell in cells], dtype=object)
    best = pd.DatetimeIndex([pd.NaT] * len(cells), tz="UTC")
    probe = cells[:: max(1, len(cells) // _PROBED)]
    for options in (
        {"format": "ISO8601"},
        {"format": _format(probe, day_first=False)},
        {"format": _format(probe, day_first=True)},
    ):
        if options["format"] is None:
            continue
        times = pd.DatetimeIndex(pd.to_datetime(cells, errors="coerce", utc=True, **options))
        if _share(times) >= _MOST:
            return times
        if _share(times) > _share(best):
            best = times
    if _share(best) < _MOST:
        mixed = pd.DatetimeIndex(pd.to_datetime(cells, errors="coerce", utc=True, format="mixed"))
        best = mixed if _share(mixed) > _share(best) else best
    return best


def _share(times: pd.DatetimeIndex) -> float:
    """Return how many of the times are known."""
    return float(np.mean(~pd.isna(times))) if len(times) else 0.0


def _format(cells: pd.Index, *, day_first: bool) -> str | None:
    """Return the format of dates that are written alike."""
    for cell in cells:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a date leaves no choice of what stands first
            found = pd.tseries.api.guess_datetime_format(str(cell), dayfirst=day_first)
        # A day above 12 decides; of the others the order is only assumed.
        if found is not None and _share(pd.to_datetime(cells, errors="coerce", utc=True, format=found)) >= _MOST:
            return str(found)
    return None


def read_times(column: pd.Series) -> pd.Series:
    """Return times that sort: seconds as numbers where they are seconds or parts of them, else datetimes in UTC.

    Args:
        column: numbers, datetimes, or text as a categorical.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.Series(pd.to_datetime(column, utc=True).to_numpy(), column.index)
    if isinstance(column.dtype, pd.CategoricalDtype):
        cells = column.cat.categories
        numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(dtype=float)
        filled = np.array([bool(str(cell).strip()) for cell in cells], dtype=bool)
        if np.isfinite(numbers[filled]).mean() < _MOST if filled.any() else True:
            values = parse_texts(pd.Index(cells)).tz_localize(None).to_numpy()
            return pd.Series(_taken(values, column.cat.codes.to_numpy(), np.datetime64("NaT")), column.index)
        column = pd.Series(_taken(numbers, column.cat.codes.to_numpy(), np.nan), column.index)
    seconds = column.to_numpy(dtype=float)
    known = seconds[np.isfinite(seconds)]
    if len(known) and known.min() >= 19_800_101 and known.max() <= 20_391_231:  # a day as one number: 20080514
        days = pd.to_datetime(pd.Series(seconds).astype("Int64").astype(str), format="%Y%m%d", errors="coerce")
        if days.notna().mean() >= _MOST:
            return pd.Series(days.to_numpy(), column.index)
    middle = float(np.median(known)) if len(known) else 0.0
    unit = next((k for k in _UNITS if _EARLIEST * k <= middle <= _LATEST * k), 1)
    return pd.Series(seconds / unit, column.index)


def _taken(values: np.ndarray, codes: np.ndarray, missing: object) -> np.ndarray:
    taken: np.ndarray = np.append(values, np.array([missing], dtype=values.dtype))[codes]  # code -1 is the last one
    return taken


def range_of(times: pd.Series) -> str:
    """Return the first and the last of times as dates, or as numbers where they are not seconds.

    Args:
        times: as `read_times` returns them.
    """
    low, high = times.min(), times.max()
    if pd.isna(low):
        return "all blank"
    if not pd.api.types.is_datetime64_any_dtype(times):
        if not _EARLIEST / 10 <= low <= high <= _LATEST:
            return f"{low:g} to {high:g}"
        low, high = pd.Timestamp(low, unit="s"), pd.Timestamp(high, unit="s")
    first, last = f"{low:%Y-%m-%d}", f"{high:%Y-%m-%d}"
    return first if first == last else f"{first} to {last}"
