"""Predictions by Ray: a pool of actors over a cluster, each with the bundle loaded once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from foveal.core import lazy, processors
from foveal.inference.loading import load_image_predictor
from foveal.scale.shards import Shards
from foveal.sources.addresses import Part

_BLOCKS_PER_ACTOR = 50  # so that actors finish at about the same time; chosen by hand


class ShardActor:
    """An actor of Ray: it loads the bundle once, then answers for the parts that it is given."""

    def __init__(self, shards: Shards, device: str | None) -> None:
        from foveal.core import runtime

        runtime.keep_to_threads(1)  # Ray gives an actor one processor
        self.shards, self.predictor = shards, load_image_predictor(shards.model, device=device)

    def __call__(self, batch: dict[str, NDArray[np.generic]]) -> dict[str, list[int]]:
        """Answer for a batch of parts; a shard that another actor has finished before it died is not done again.

        Returns:
            The number of images of each part, under `n`, as Ray takes it.
        """
        parts = [Part.of_text(str(text)) for text in batch["part"]]
        for number, part in zip(batch["number"].tolist(), parts, strict=True):
            self.shards.predict(int(number), part, self.predictor, num_workers=1)
        return {"n": [len(part) for part in parts]}


def predict_on_ray(shards: Shards, *, device: str | None = None) -> Iterator[int]:
    """Predict the unfinished shards by Ray.

    It joins the cluster that `RAY_ADDRESS` names, or starts Ray on this machine. An actor has a core, or a GPU where
    there are some. The folder and the bundle must be at the same path on every machine.

    Args:
        shards: the folder.
        device: such as "cuda"; the best of each machine by default.

    Yields:
        How many images each shard has, as they are finished.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    ray = lazy.require("ray", extra="ray", purpose="Answering on Ray")
    data = lazy.require("ray.data", extra="ray", purpose="Answering on Ray")
    unfinished = shards.unfinished()
    if not unfinished:
        return
    started = not ray.is_initialized()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        resources = ray.cluster_resources()
        n_gpus = int(resources.get("GPU", 0))
        n_cpus = int(resources["CPU"])
        if len(ray.nodes()) == 1:  # Ray counts the cores of the machine, not those that this process may use
            n_cpus = min(n_cpus, processors.usable())
        n = min(n_gpus or n_cpus, len(unfinished))
        rows = [{"number": number, "part": shards.parts[number].text} for number in unfinished]
        results = data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS_PER_ACTOR * n)).map_batches(
            ShardActor,
            fn_constructor_args=(replace(shards, parts=()), device),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=n),
            **({"num_gpus": 1} if n_gpus else {"num_cpus": 1}),
        )
        for row in results.iter_rows():
            yield int(row["n"])
    finally:
        if started:
            ray.shutdown()
