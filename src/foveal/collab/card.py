"""What a card says of a model of ratings, from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping

from foveal.core.formats import format_number

OF_BIASES = "of_biases"
OF_THE_MEAN = "of_the_mean"
"""Endings of figures: of a model of user and item biases alone, and of always answering the mean rating."""


def card_verdict(task: object, figures: Mapping[str, float | None]) -> list[str]:
    """Return what a card tells of recommendations and predicted ratings beside what needs no model, in sentences.

    Args:
        task: not used.
        figures: the headline metrics of a run.
    """
    del task
    lines = []
    ranked = next((name for name in figures if name.startswith("ndcg_at_") and not name.endswith("popular")), "")
    own, popular = figures.get(ranked), figures.get(f"{ranked}_of_most_popular")
    if own is not None and popular is not None:
        name, times = ranked.replace("ndcg_at_", "NDCG@"), f", {own / popular:.1f} times" if popular else ""
        better = "better than" if own > popular else "no better than"
        lines.append(
            f"Recommendations are {better} the most popular items for everybody: {name} {own:.3f} against "
            f"{popular:.3f}{times}."
        )
    rmse, biases = figures.get("rmse"), figures.get(f"rmse_{OF_BIASES}")
    if rmse is not None and biases is not None:
        better = "better than" if rmse < biases else "no better than"
        lines.append(
            f"Predicted ratings are {better} user and item biases alone: RMSE {format_number(rmse)} against "
            f"{format_number(biases)}."
        )
    return lines
