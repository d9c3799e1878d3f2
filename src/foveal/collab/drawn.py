"""Drawn ratings of invented films, laid out as MovieLens 100k is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from foveal.core.rng import generator_for

_SEED = 2  # of all drawings
_TASTE = 0.8  # how much liking decides what is seen, beside popularity; with it, EASE is as far ahead as on MovieLens
_FIRST_WORDS = ("Silent", "Crimson", "Broken", "Golden", "Hidden", "Last", "Paper", "Winter", "Electric", "Lonely")
_SECOND_WORDS = (
    "River",
    "Crown",
    "Garden",
    "Engine",
    "Letter",
    "Harbour",
    "Mirror",
    "Station",
    "Fox",
    "Promise",
    "Sky",
)


def write_ratings(folder: Path) -> None:
    """Write u.data (user, film, rating, time, by tabs) and u.item (film, title, ..., by |, latin-1)."""
    rng = generator_for(_SEED)
    titles = [f"{first} {second}, The ({1950 + at % 70})" for at, (first, second) in enumerate(_titles())]
    n_users, n_films, n_factors = 240, len(titles), 3
    liking, kind = rng.normal(size=(n_users, n_factors)), rng.normal(size=(n_films, n_factors))
    mood, quality = 0.4 * rng.normal(size=n_users), 0.6 * rng.normal(size=n_films)
    popular = np.sort(rng.dirichlet(np.full(n_films, 0.6)) + 1e-4)[::-1]
    rows = []
    for user in range(n_users):
        likely = popular * np.exp(_TASTE * kind @ liking[user])
        for film in rng.choice(n_films, size=int(rng.integers(15, 60)), replace=False, p=likely / likely.sum()):
            exact = 3.5 + mood[user] + quality[film] + 0.5 * float(liking[user] @ kind[film]) + 0.7 * rng.normal()
            when = 875_000_000 + int(rng.integers(20_000_000))
            rows.append((user + 1, int(film) + 1, int(np.clip(round(exact), 1, 5)), when))
    order = rng.permutation(len(rows))
    (folder / "u.data").write_text("".join("\t".join(map(str, rows[at])) + "\n" for at in order), encoding="ascii")
    genres = "|".join("0" for _ in range(19))
    lines = (f"{at}|{title}|01-Jan-{1950 + (at - 1) % 70}|||{genres}\n" for at, title in enumerate(titles, start=1))
    (folder / "u.item").write_text("".join(lines), encoding="latin-1")


def _titles() -> Iterator[tuple[str, str]]:
    pairs = list(product(_FIRST_WORDS, _SECOND_WORDS))
    return (pairs[at] for at in generator_for(_SEED, 0, 1).permutation(len(pairs)))
