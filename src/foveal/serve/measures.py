"""The service's counters and gauges, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from foveal.inference.reference import Drift

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # Prometheus' own buckets
_OF = ("signal", "bound")
_DRIFT = "Population stability index against validation, of the last 24 hours: its value, and the lower (low) and upper"
_BATCHES = (1, 2, 4, 8, 16)  # images, up to the largest batch


class Measures:
    """Counters of one process; several processes have one set each."""

    kind = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("foveal_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "foveal_request_seconds",
            "From the first byte to the answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter("foveal_images", "Images answered and refused.", ["outcome"], registry=registry)
        self._batches = Histogram("foveal_batch_size", "Images per batch.", buckets=_BATCHES, registry=registry)
        self.n_slots = Gauge("foveal_places", "How many images may be in work.", registry=registry)
        self._index = Gauge("foveal_drift_index", f"{_DRIFT} (high) bound of its 95% interval.", _OF, registry=registry)
        self._looked_at = Gauge("foveal_drift_images", "Answers of the last 24 hours so far.", registry=registry)
        self.n_taken = Gauge("foveal_places_taken", "How many images are in work.", registry=registry)

    def count_request(self, path: str, status: int, started: float) -> None:
        """Count a request.

        Args:
            path: of its route.
            status: HTTP status code of the answer.
            started: when it came, in seconds of `time.perf_counter`.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(time.perf_counter() - started)

    def count_image(self, outcome: str) -> None:
        """Count an image, "answered" or "refused"."""
        self._images.labels(outcome).inc()

    def count_batch(self, n: int) -> None:
        """Count a batch of `n` images."""
        self._batches.observe(n)

    def show_drift(self, drift: Drift | None) -> None:
        """Show how far what is asked differs from validation; nothing where that is not known."""
        self._index.clear()
        self._looked_at.set(0 if drift is None else drift.n)
        for shift in () if drift is None else drift.shifts:
            for bound, value in shift.index._asdict().items():
                self._index.labels(shift.name, bound).set(value)

    def text(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self._registry)
