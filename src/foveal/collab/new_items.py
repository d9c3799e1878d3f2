"""Items that training did not know, from a table with the columns of those that it did."""

from __future__ import annotations

from pathlib import Path

from foveal.collab.item_table import ItemTable
from foveal.collab.tables.catalogue import read_items


def read_new_items(file: Path, item: str) -> ItemTable:
    """Read a table of items.

    Args:
        file: the table.
        item: what the ratings call their column of items.

    Raises:
        TableError: it cannot be read.
    """
    catalogue = read_items(file, item)
    return ItemTable(catalogue.titles, catalogue.features)
