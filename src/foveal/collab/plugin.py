"""What collaborative filtering adds to foveal, by the door that is open to every package; it loads quickly."""

from __future__ import annotations

from foveal.collab.settings import RatingRun
from foveal.runs.settings import RUNS, RunKind
from foveal.tasks.kinds import TASKS

TASKS.add("rating", "foveal.collab.task:RATING")
TASKS.add("seen", "foveal.collab.task:IMPLICIT")
RUNS.add(
    "rating",
    RunKind(
        settings=RatingRun,
        train="foveal.collab.run:train_ratings",
        check="foveal.collab.run:check_ratings",
        takes="foveal.collab.tables.folders:takes",
    ),
)
