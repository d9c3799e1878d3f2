"""What several processes give: training in one and in two, and answers by either engine for more and more images.

    python benchmarks/scaling.py train --data DATA
    python benchmarks/scaling.py predict --data DATA [--images 1000 10000 100000]

Images are the photographs of voc2012_mini over and over, as bytes in a parquet table. Prints rows of Markdown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foveal.core.processors import usable
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab

_GROUP = 512


def run(*words):
    """Run foveal; return seconds and the MiB of its largest process."""
    began = time.perf_counter()
    command = [sys.executable, "-P", "-m", "foveal", *map(str, words)]
    watch = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    watch += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    done = subprocess.run([sys.executable, "-c", watch, *command], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, int(done.stdout.split()[-1])


def table_of(file, photographs, n):
    """Write `n` images' bytes."""
    schema = pa.schema([("jpg", pa.binary())])
    data = cycle([photograph.read_bytes() for photograph in photographs])
    with pq.ParquetWriter(file, schema, compression="none") as writer:
        for start in range(0, n, _GROUP):
            writer.write_table(pa.table({"jpg": list(islice(data, min(_GROUP, n - start)))}, schema))


def predict(photographs, counts, folder):
    model = build_model(ModelSpec("tf_efficientnet_lite0", 20, (128, 128), None, "linear"))
    task = MultiLabel(Vocab(tuple(f"class {n}" for n in range(20))))
    Predictor.of(model, task, Preparation.of((128, 128), "crop", IMAGENET)).save(folder / "model.safetensors")
    print("| engine | images | seconds | images/s | images/s a core | MiB, largest process |")
    print("|---|---|---|---|---|---|")
    for n in counts:
        table_of(folder / f"{n}.parquet", photographs, n)
        for engine in ("local", "ray"):
            out = folder / f"{engine}-{n}"
            words = [folder / "model.safetensors", folder / f"{n}.parquet", "--out", out, "--engine", engine]
            seconds, mib = run("predict", *words, "--shard-size", 500)
            rate, cores = n / seconds, usable()
            print(f"| {engine} | {n:,} | {seconds:.1f} | {rate:.0f} | {rate / cores:.0f} | {mib:,} |", flush=True)


def train(data, folder):
    print("| processes | epochs | seconds of an epoch, median | valid_loss |\n|---|---|---|---|")
    for n in (1, 2):
        out = folder / f"run-{n}"
        words = [
            data / "voc2012_mini" / "train.csv",
            "--images",
            data / "voc2012_mini" / "train",
            "--size",
            "128",
            "--epochs",
            "3",
        ]
        run("train", *words, "--out", out, "--processes", n, "--precision", "fp32")
        lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()][1:]
        seconds = statistics.median(line["seconds"] for line in lines)
        losses = ", ".join(f"{line['valid_loss']:.4f}" for line in lines)
        print(f"| {n} | {len(lines)} | {seconds:.1f} | {losses} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "predict"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if args.what == "train":
            train(args.data, Path(place))
        else:
            predict(sorted((args.data / "voc2012_mini").rglob("*.jpg")), args.images, Path(place))
