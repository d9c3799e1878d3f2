"""A studio loses no decision: it is killed at any moment, and whatever it has answered for is there again."""

from __future__ import annotations

import http.client
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from foveal.sources.synthetic import write_scenes
from promises import ROOT, Report

sys.path.insert(0, str(ROOT / "tests"))
from serving import Service, studio_of

KILLS = {False: 4, True: 200}
IMAGES = 40
HANDS = 3  # sessions that decide at once
CLASSES = ["house", "sun", "tree"]
Labels = dict[int, list[list[str] | None]]
"""Of each image that was decided on, the labels that it may have."""


def run(full: bool) -> Report:
    """Kill a studio again and again while three sessions decide, and compare what it knows with what was answered."""
    report = Report("A studio that is killed loses no decision")
    report.table.append(("kills", "decisions answered for", "lost", "lines cut short"))
    rng, n_decided, n_cut = random.Random(0), 0, 0
    kept: Labels = {}
    with tempfile.TemporaryDirectory() as name:
        write_scenes(Path(name), n=IMAGES)
        folder = Path(name) / "scenes"
        for kill in range(1, KILLS[full] + 1):
            with studio_of(folder) as service:
                if kill == 1:
                    service.post("/begin", {"session": "a", "names": CLASSES, "task": "multi-label"})
                found = labels_of(service)
                for image, labels in kept.items():
                    report.require(
                        found.get(image) in labels, f"kill {kill}: image {image} has {found.get(image)}, not {labels}"
                    )
                kept = {image: [label] for image, label in found.items()}
                n_decided += decide_until_killed(service, kept, rng)
            n_cut += not (folder / "foveal-studio.jsonl").read_bytes().endswith(b"\n")
    report.table.append((KILLS[full], f"{n_decided:,}", len(report.broken), n_cut))
    return report


def decide_until_killed(service: Service, kept: Labels, rng: random.Random) -> int:
    """Let sessions decide until the studio is killed; note what each image may have; return how many were answered."""
    counts = [0] * HANDS

    def hand(number: int) -> None:
        own = random.Random(rng.random())
        images = range(number, IMAGES, HANDS)  # each has its own, so that the order of its decisions is known
        while True:
            image, label = own.choice(images), [name for name in CLASSES if own.random() < 0.5]
            kept[image] = [*kept.get(image, [None]), label]  # until it is answered, either may be on disk
            try:
                service.post("/decide", {"session": f"hand {number}", "image": image, "label": label})
            except (OSError, ValueError, http.client.HTTPException):  # it was killed
                return
            kept[image] = [label]
            counts[number] += 1

    hands = [threading.Thread(target=hand, args=(number,)) for number in range(HANDS)]
    for one in hands:
        one.start()
    time.sleep(rng.uniform(0.05, 1.5))
    service.process.kill()
    service.process.wait()
    for one in hands:
        one.join()
    return sum(counts)


def labels_of(service: Service) -> dict[int, list[str] | None]:
    """Return the labels that a studio has, by number of the image."""
    images = service.json("GET", "/images?n=500")[1]["images"]
    return {one["image"]: one["label"] for one in images if one["label"] is not None}
