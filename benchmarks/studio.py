#!/usr/bin/env python3
"""A studio under a scripted hand: the score it reaches, how soon it answers anew, and how 100,000 images scroll.

    benchmarks/studio.py DATA [--labels 300] [--seeds 3] [--n 5000] [--scroll 100000]

DATA holds voc2012_mini. The hand labels what `foveal studio` asks for with the truth, over HTTP, in a table of which
the validation side alone is labelled; the score is that of the page, and over the classes with ten positives or more.
For the time to answer, as many images as said are made of crops of these; it is from the decision until there are
answers that know of it. For scrolling, links to 1,400 files stand in for as many images; a real Chromium turns pages.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

PORT = 8655
STRANGE = 10  # positives of a class in validation, from which on its average precision says something


# Turns 300 times, by 400 pixels or to anywhere; returns the gaps between frames and how long a view stood empty, in ms.
SCROLL = """async () => {
    const grid = document.getElementById("grid"), gaps = [], waits = [];
    const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const isSeen = (tile) => {
        const box = tile.getBoundingClientRect(), around = grid.getBoundingClientRect();
        return box.bottom > around.top && box.top < around.bottom;
    };
    let before = performance.now(), running = true;
    const tick = (now) => { gaps.push(now - before); before = now; if (running) requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    for (let step = 0; step < 300; step += 1) {
        grid.scrollTop = step % 10 ? grid.scrollTop + 400 : Math.random() * grid.scrollHeight;
        const began = performance.now();
        await rest(20);
        while (![...document.querySelectorAll(".tile")].some(isSeen) && performance.now() - began < 5000) await rest(5);
        waits.push(performance.now() - began);
    }
    running = false;
    return { gaps, waits };
}"""


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--scroll", type=int, default=100_000)
    args = parser.parse_args()
    voc = args.data / "voc2012_mini"
    with (voc / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        if args.labels:
            hand(voc, rows, args.labels, args.seeds, Path(folder))
        if args.n:
            answers(voc, rows, args.n, Path(folder))
        if args.scroll:
            scroll(voc, rows, args.scroll, Path(folder))


def hand(voc, rows, n, seeds, folder) -> None:
    """Print what a hand reaches that labels what it is asked for, and one that labels at random."""
    truth = {row["fname"]: row["labels"].split() for row in rows}
    valid = [row for row in rows if row["is_valid"] == "True"]
    names = sorted({name for label in truth.values() for name in label})
    common = [name for name in names if sum(name in row["labels"].split() for row in valid) >= STRANGE]
    print(f"| seed | labels | mean AP of {len(common)} classes | of all | interval | answers anew, p50 / p95 |")
    print("|---|---|---|---|---|---|")
    for seed in range(seeds):
        place = folder / f"hand{seed}"
        place.mkdir()
        (place / "train").symlink_to(voc / "train")
        order = np.random.default_rng(seed).permutation(len(rows))
        with (place / "part.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["fname", "labels", "is_valid"])
            writer.writeheader()
            for at in order:
                row = rows[at]
                writer.writerow(row if row["is_valid"] == "True" else row | {"labels": ""})
        with studio(place / "part.csv") as ask:
            state = ready(ask)
            ask("begin", {"session": "hand", "names": names})
            times = []
            for number in range(n):
                image = ask("next?session=hand&k=1")[0]
                times.append(decided(ask, image["image"], truth[image["name"].split("/")[-1]], number + 1))
            time.sleep(6)
            state = ask("state?session=hand")
            value = {one["name"]: one["value"] for one in state["classes"]}
            p50, p95 = np.quantile(times, [0.5, 0.95])
            score = state["score"]
            print(
                f"| {seed} | {n} | {np.mean([value[name] for name in common]):.3f} | {score['value']:.3f} "
                f"| {score['low']:.3f} to {score['high']:.3f} | {p50:.2f} s / {p95:.2f} s |",
                flush=True,
            )


def answers(voc, rows, n, folder) -> None:
    """Print how soon there are answers that know of a decision, with few labels and with many."""
    place, rng = folder / "many", np.random.default_rng(0)
    place.mkdir()
    for number in range(n):
        row = rows[number % len(rows)]
        with Image.open(voc / "train" / row["fname"]) as image:
            x, y = rng.integers(0, 40, 2).tolist()
            image.convert("RGB").crop((x, y, image.width, image.height)).save(place / f"{number:05}.jpg", quality=85)
    names = sorted({name for row in rows for name in row["labels"].split()})
    print("\n| images | labels | answers anew, p50 / p95 | decision kept, p95 |\n|---|---|---|---|")
    for many in (50, n // 2):
        for file in place.glob("*studio*"):
            file.unlink()
        with (place / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["fname", "labels"])
            writer.writerows([f"{at:05}.jpg", rows[at % len(rows)]["labels"]] for at in range(many))
        with studio(place, "--task", "multi-label") as ask:
            ready(ask)
            ask("begin", {"session": "hand", "names": names})
            times, kept = [], []
            for number in range(60):
                image = ask("next?session=hand&k=1")[0]
                began = time.perf_counter()
                label = rows[int(image["name"][:5]) % len(rows)]["labels"].split()
                times.append(decided(ask, image["image"], label, many + number + 1, kept))
                time.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))  # a quick hand
            p50, p95 = np.quantile(times, [0.5, 0.95])
            print(
                f"| {n:,} | {many:,} | {p50:.2f} s / {p95:.2f} s | {1000 * np.quantile(kept, 0.95):.0f} ms |",
                flush=True,
            )


def scroll(voc, rows, n, folder) -> None:
    """Print how long the page of very many images stands still while it is scrolled."""
    from playwright.sync_api import sync_playwright

    place = folder / "scroll"
    place.mkdir()
    for number in range(n):
        source = voc / "train" / rows[number % len(rows)]["fname"]
        (place / f"{number:06}.jpg").symlink_to(source)
    began = time.perf_counter()
    with studio(place, "--task", "multi-label", "--names", "cat,dog") as ask, sync_playwright() as playwright:
        opened = time.perf_counter() - began
        while ask("state?session=hand")["n_looked"] < 1500:
            time.sleep(1)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"http://127.0.0.1:{PORT}/")
        page.click("nav [data-view=images]")
        page.wait_for_selector(".tile")
        frames = page.evaluate(SCROLL)
        gaps, waits = np.array(frames["gaps"]), np.array(frames["waits"])
        print("\n| images | opened in | frames, p50 / p99 / longest | tiles, p50 / p95 / longest |\n|---|---|---|---|")
        print(
            f"| {n:,} | {opened:.0f} s | {np.median(gaps):.0f} / {np.quantile(gaps, 0.99):.0f} / {gaps.max():.0f} ms "
            f"| {np.median(waits):.0f} / {np.quantile(waits, 0.95):.0f} / {waits.max():.0f} ms |",
            flush=True,
        )


def decided(ask, image, label, n, kept=None) -> float:
    """Decide about an image; return the seconds until there are answers that know of it."""
    began, version = time.perf_counter(), -1
    ask("decide", {"session": "hand", "image": image, "label": label})
    if kept is not None:
        kept.append(time.perf_counter() - began)
    while n >= 20 and time.perf_counter() - began < 30:
        state = ask(f"state?session=hand&since={version}")
        version = state["version"]
        if state["learned_from"] >= n:
            break
    return time.perf_counter() - began


def ready(ask):
    """Wait until all images were looked at; return the state."""
    state = ask("state?session=hand")
    while state["n_looked"] < state["n"]:
        state = ask(f"state?session=hand&since={state['version']}")
    return state


@contextmanager
def studio(source, *options):
    """Start a studio; yield a function that asks it."""
    command = [sys.executable, "-m", "foveal", "studio", str(source), "--port", str(PORT), "--no-browser", *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)

        def ask(path, body=None):
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{PORT}/{path}", data, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        try:
            for _ in range(2400):
                try:
                    ask("state?session=hand")
                    break
                except OSError:
                    assert process.poll() is None, log.seek(0) or log.read().decode()
                    time.sleep(0.1)
            yield ask
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
