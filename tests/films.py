"""A model of ratings of thirty films, some with hostile titles: users of odd numbers like odd films."""

import numpy as np
import pandas as pd

import foveal

OWNED = "<img src=x onerror=document.title='owned'>"
LONG = "An unbroken " + "a" * 500
TITLES = {
    10: OWNED,
    11: "Amélie: Le Fabuleux Destin (2001)",
    12: LONG,
    13: "\u202eرحلة\u202c إلى القمر",
    14: "🎬🍿",
    15: "千と千尋の神隠し",
    16: "Spider-Man's Way Home",
    17: "Home (2009)",
}
"""Of 30 films, the ids of which begin with 10; the others are called `Film 18` and so on."""


def write_model(folder):
    """Train the model in a folder and return its file."""
    rng = np.random.default_rng(0)
    rows = [
        (user, film, int(np.clip(round(rng.normal(4.5 if (user - film) % 2 == 0 else 2, 0.7)), 1, 5)))
        for user in range(1, 61)
        for film in rng.choice(np.arange(10, 40), 14, replace=False)
    ]
    films = range(10, 40)
    pd.DataFrame(rows, columns=["user", "movie", "stars"]).to_csv(folder / "ratings.csv", index=False)
    table = {
        "movie": films,
        "title": [TITLES.get(film, f"Film {film}") for film in films],
        "genre": ["War" if film % 2 else "Love" for film in films],
    }
    pd.DataFrame(table).to_csv(folder / "items.csv", index=False)
    foveal.train(folder / "ratings.csv", items=str(folder / "items.csv"), task="rating", out=folder / "run")
    return folder / "run" / "model.safetensors"
