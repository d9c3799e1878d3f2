"""What a run on ratings says of itself in sentences: in the terminal, on the page and on the card."""

from __future__ import annotations

from collections.abc import Mapping

from foveal.collab.card import OF_BIASES
from foveal.collab.rank_evaluation import POPULAR, Rankings
from foveal.core.formats import format_number
from foveal.metrics.bootstrap import Interval

_FEWEST = 10  # users; chosen by hand: a bootstrap of fewer says nothing


def ranking_verdict(rankings: Rankings) -> str:
    """Return how the recommendations compare with what is most popular and, where it is another model, item kNN."""
    name, first = f"NDCG@{rankings.k}", rankings.first
    if rankings.n_users < _FEWEST:
        return f"Too few users liked something in the validation rows to compare recommendations: {rankings.n_users}."
    others = [title for title in rankings.of if title != first]
    own, popular, gain = rankings.ndcg[first], rankings.ndcg[POPULAR], rankings.gain_over(POPULAR)
    if first == POPULAR:
        return (
            f"Recommends what is most popular to everybody, {name} {own.value:.3f}: no other model did better on the "
            "training rows."
        )
    if gain.high < 0:
        words = f"Recommending what is most popular is better: {name} {popular.value:.3f} against {own.value:.3f}"
    elif gain.low <= 0:
        words = (
            f"Recommending what is most popular is as good, as far as {rankings.n_users:,} users can tell: {name} "
            f"{popular.value:.3f} against {own.value:.3f}"
        )
    else:
        times = f", {own.value / popular.value:.1f} times that of what is most popular" if popular.value > 0 else ""
        words = f"Recommended by {first}: {name} {own.value:.3f}{times}"
    compared = [f"{title} {rankings.ndcg[title].value:.3f}" for title in others if title != POPULAR]
    return f"{words} ({', '.join(compared)})." if compared else f"{words}."


def rating_verdict(scores: Mapping[str, Interval]) -> str:
    """Return how predicted ratings compare with a model of user and item biases; empty where there are only pairs."""
    if "rmse" not in scores or f"rmse_{OF_BIASES}" not in scores:
        return ""
    own, biases = scores["rmse"].value, scores[f"rmse_{OF_BIASES}"].value
    if own == biases:
        return f"Predicted ratings are user and item biases alone, the table being small: RMSE {format_number(own)}."
    if own > biases:
        return (
            f"Predicted ratings are worse than user and item biases alone: RMSE {format_number(own)} against "
            f"{format_number(biases)}. There may be too few ratings for more."
        )
    return f"Predicted ratings: RMSE {format_number(own)}; user and item biases alone have {format_number(biases)}."
