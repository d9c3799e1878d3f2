"""Titles and columns of items, as a bundle keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from foveal.collab.task import Id
from foveal.core.errors import InputError, UnknownNameError

_NAME = "items"  # of the tensor that holds them
_TITLE = "title"  # what the column of titles is called among the features


@dataclass(frozen=True, eq=False)
class ItemTable:
    """What is known of items besides who had them.

    Attributes:
        titles: by id.
        columns: a row per item, by id.
    """

    titles: Mapping[Id, str] = field(default_factory=dict)
    columns: pd.DataFrame | None = None

    def __repr__(self) -> str:
        n_columns = 0 if self.columns is None else len(self.columns.columns)
        return f"{type(self).__name__}({len(self.titles):,} titles, {n_columns:,} columns)"

    @cached_property
    def features(self) -> pd.DataFrame | None:
        """The columns, and the titles among them: what an item is placed by where nobody had it yet."""
        if not self.titles:
            return self.columns
        titles = pd.Series(self.titles, dtype=object)
        if self.columns is None:
            return titles.to_frame(_TITLE)
        return self.columns if _TITLE in self.columns else self.columns.join(titles.rename(_TITLE))

    def name(self, item: Id) -> Id:
        """Return what people call an item: its title, or its id where it has none."""
        return self.titles.get(item) or item

    def where(self, column: str, value: str) -> list[Id]:
        """Return the items whose column has a value, whole or as one of a list.

        Args:
            column: of the table of items.
            value: in any case.

        Raises:
            UnknownNameError: there is no such column.
        """
        names = [] if self.columns is None else [str(name) for name in self.columns.columns]
        if self.columns is None or column not in names:
            raise UnknownNameError.of("column of items", column, names)
        wanted = value.casefold()
        cells = self.columns[column].dropna()
        return [item for item, cell in zip(cells.index.tolist(), cells.tolist(), strict=True) if _has(cell, wanted)]

    def stored(self) -> dict[str, Tensor]:
        """Return it as a tensor of bytes by its name; nothing where nothing is known."""
        if not self.titles and self.columns is None:
            return {}
        part = ItemsPart(titles=list(self.titles.items()))
        if self.columns is not None:
            rows = self.columns.astype(object).where(self.columns.notna(), None)
            part = part.model_copy(
                update={
                    "ids": rows.index.tolist(),
                    "columns": {str(name): rows[name].tolist() for name in rows.columns},
                }
            )
        return {_NAME: torch.frombuffer(bytearray(part.model_dump_json().encode()), dtype=torch.uint8)}


class ItemsPart(BaseModel):
    """What a bundle says of its items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    titles: list[tuple[Id, str]] = []
    ids: list[Id] = []
    columns: dict[str, list[str | int | float | bool | None]] = {}


NO_ITEMS = ItemTable()


def stored_items(tensors: Mapping[str, Tensor]) -> ItemTable:
    """Return what a bundle knows of its items.

    Raises:
        InputError: it cannot be read.
    """
    if (packed := tensors.get(_NAME)) is None:
        return NO_ITEMS
    try:
        part = ItemsPart.model_validate_json(bytes(packed.numpy()))
        columns = pd.DataFrame(part.columns, index=pd.Index(part.ids, dtype=object)) if part.columns else None
    except (ValidationError, ValueError, TypeError) as error:
        raise InputError("what it knows of its items cannot be read.") from error
    return ItemTable(dict(part.titles), columns)


def _has(cell: object, wanted: str) -> bool:
    if isinstance(cell, float):
        try:
            return cell == float(wanted)
        except ValueError:
            return False
    text = str(cell).casefold()
    return text == wanted or wanted in {part.strip() for part in text.replace(",", "|").replace(";", "|").split("|")}
