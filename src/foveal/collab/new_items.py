"""Items that training did not know, from a table with the columns of those that it did."""

from __future__ import annotations

from pathlib import Path

from foveal.collab.item_table import ItemTable
from foveal.collab.tables.catalogue import read_items
from foveal.collab.task import Rating


def read_new_items(file: Path, task: Rating) -> ItemTable:
    """Return the titles and columns in a table of items.

    Args:
        file: the table.
        task: that knows the other items.

    Raises:
        TableError: it cannot be read.
    """
    are_numbers = all(isinstance(one, int) for one in task.items.known)
    catalogue = read_items(file, task.columns[1], are_numbers=are_numbers)
    return ItemTable(catalogue.titles, catalogue.features)
