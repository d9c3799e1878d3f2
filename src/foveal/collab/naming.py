"""Users and items as people name them: by id, by title, or all items whose column has a value."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from foveal.collab.item_search import known_id, shortened
from foveal.collab.new_items import read_new_items
from foveal.collab.predictor import RatingPredictor
from foveal.collab.recommender import Wishes
from foveal.collab.task import Id
from foveal.core.errors import InputError, near_match


def user_named(predictor: RatingPredictor, text: str) -> Id:
    """Return the user that a text names.

    Args:
        predictor: that knows users.
        text: an id.

    Raises:
        InputError: training did not know it.
    """
    if (found := known_id(predictor.task.users, text)) is None:
        hint = near_match(text, map(str, predictor.task.users.known))
        raise InputError(
            f"The user {text!r} did not occur in training.{hint} For somebody new, say what they like: --liked ITEM."
        )
    return found


def item_named(predictor: RatingPredictor, text: str) -> Id:
    """Return the item that a text names by its id or its title.

    Args:
        predictor: that knows items.
        text: an id, or a title in any case.

    Raises:
        InputError: training did not know it.
    """
    if (found := predictor.search.named(text)) is None:
        hint = predictor.search.hint(text)
        raise InputError(f"No item of training has the id or the title {shortened(text)}.{hint}")
    return found


def items_named(predictor: RatingPredictor, texts: Iterable[str]) -> list[Id]:
    """Return the items that texts name: each an id, a title, or COLUMN=VALUE for all items that have it.

    Args:
        predictor: that knows items.
        texts: of a command line.

    Raises:
        InputError: an item or a column is not known, or no item has the value.
    """
    found: list[Id] = []
    columns = [] if predictor.items.columns is None else list(map(str, predictor.items.columns.columns))
    for text in texts:
        column, equals, value = text.partition("=")
        if equals and predictor.search.named(text) is None:
            having = [one for one in predictor.items.where(column, value) if predictor.task.items.number(one)]
            if not having:
                raise InputError(f"No item that training knows has {value!r} in column `{column}`.")
            found += having
        else:
            try:
                found.append(item_named(predictor, text))
            except InputError as error:
                about = f" Columns of items: {', '.join(columns)}, as in {columns[0]}=VALUE." if columns else ""
                raise InputError(f"{error}{about}") from None
    return found


def wishes_of(
    predictor: RatingPredictor, exclude: Iterable[str] = (), only: Iterable[str] = (), new_items: Path | None = None
) -> Wishes:
    """Return what a command line wishes of recommendations.

    Args:
        predictor: that knows items.
        exclude: items that are never recommended, as `items_named` takes them.
        only: the items among which is chosen, the same; "new" alone stands for the new items.
        new_items: a table of items that training did not know.

    Raises:
        InputError: an item is not known, or the table cannot be read.
    """
    wishes: Wishes = {"exclude": items_named(predictor, exclude)}
    wanted = list(only)
    if new_items is not None:
        wishes["new_items"] = read_new_items(new_items, predictor.task)
    if wanted == ["new"] and new_items is not None:
        wishes["only_new"] = True
    elif wanted:
        wishes["only"] = items_named(predictor, wanted)
    return wishes
