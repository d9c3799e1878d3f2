"""What collaborative filtering adds to foveal, by the door that is open to every package; it loads quickly."""

from __future__ import annotations

from foveal.tasks.kinds import TASKS

TASKS.add("rating", "foveal.collab.task:RATING")
TASKS.add("seen", "foveal.collab.task:IMPLICIT")
