"""Answers by Ray Data: a pool of actors, each with the bundle loaded once, over the machines of a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from foveal.core import lazy, processors
from foveal.inference.predictor import load_image_predictor
from foveal.scale.shards import Shards
from foveal.sources.addresses import Part

_BLOCKS_EACH = 50


class Answering:
    """An actor: it loads the bundle, then answers for the parts that it is given."""

    def __init__(self, shards: Shards, device: str | None) -> None:
        from foveal.core import runtime

        runtime.keep_to_threads(1)  # Ray gives an actor one processor
        self.shards, self.predictor = shards, load_image_predictor(shards.model, device=device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer for a batch of parts; one that an actor finished before it died is not done again."""
        parts = [Part.of_text(text) for text in batch["part"]]
        for number, part in zip(batch["number"], parts, strict=True):
            self.shards.answer(int(number), part, self.predictor, num_workers=1)
        return {"n": [len(part) for part in parts]}


def answered_on_ray(shards: Shards, *, device: str | None = None) -> Iterator[int]:
    """Answer for the shards that wait, by Ray; yield how many images each one had, as they come.

    It joins the cluster that `RAY_ADDRESS` names, or starts Ray on this machine. An actor has a core, or a GPU where
    there are some. The folder and the bundle must be at the same path on every machine.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    ray: Any = lazy.require("ray", extra="ray", purpose="Answering on Ray")
    data: Any = lazy.require("ray.data", extra="ray", purpose="Answering on Ray")
    waiting = shards.waiting()
    if not waiting:
        return
    started = not ray.is_initialized()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        n_cpus = int(there["CPU"])
        if len(ray.nodes()) == 1:  # Ray does not look at the affinity
            n_cpus = min(n_cpus, processors.usable())
        n = min(gpus or n_cpus, len(waiting))
        rows = [{"number": number, "part": shards.parts[number].text} for number in waiting]
        answered = data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS_EACH * n)).map_batches(
            Answering,
            fn_constructor_args=(replace(shards, parts=()), device),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=n),
            **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
        )
        for row in answered.iter_rows():
            yield int(row["n"])
    finally:
        if started:
            ray.shutdown()
