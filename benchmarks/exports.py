#!/usr/bin/env python3
"""From files to labels: an exported model beside foveal, at three sizes, in onnxruntime, OpenVINO and a browser.

    benchmarks/exports.py MODEL.safetensors IMAGES [--most 500] [--chromium /usr/bin/chromium]

The model is asked at 64, 128 and 224 pixels, whatever it was trained at: what is compared is the same model in two
programs, and the steps before it differ most where images shrink most.
"""

import argparse
import csv
import functools
import http.server
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.inference.exports import export_model
from foveal.inference.loading import load_image_predictor
from foveal.inference.store import read_manifest
from foveal.serve.web import export_web
from foveal.sources.folders import images_in


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--most", type=int, default=500)
    parser.add_argument("--chromium", help="the page of `--to web` is asked as well, in this browser")
    args = parser.parse_args()
    files = list(images_in(args.images))[: args.most]
    heads = (
        "px",
        "images",
        "onnxruntime: most different, other labels",
        "OpenVINO f32",
        "Chromium",
        "ms an image: foveal, onnxruntime",
    )
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for size in (64, 128, 224):
        predictor = load_image_predictor(args.model, device="cpu")
        predictor.preparation = replace(predictor.preparation, fit=replace(predictor.preparation.fit, size=size))
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.onnx"
            found = export_model(predictor, model, images=files).from_files
            other = in_openvino(model, predictor, files[:100])
            page = in_browser(args, predictor, files, Path(folder)) if args.chromium else "not asked"
            ours, theirs = seconds(model, predictor, files[:100])
        print(
            f"| {size} | {found.n} | {found.difference:.1e}, {found.n_other_labels} | {other} | {page} | "
            f"{1000 * ours:.1f}, {1000 * theirs:.1f} |",
            flush=True,
        )


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_) -> None:
        """Print nothing."""


def in_browser(args, predictor, files, folder) -> str:
    """Return the largest difference of probabilities, and how many files have other labels."""
    from playwright.sync_api import expect, sync_playwright

    page_folder = folder / "page"
    export_web(predictor, read_manifest(args.model), args.model, page_folder)
    handler = functools.partial(Quiet, directory=page_folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    most, n_other = 0.0, 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        for start in range(0, len(files), 50):
            some = files[start : start + 50]
            page.set_input_files("#files", [str(file) for file in some])
            expect(page.locator("#status")).to_contain_text(f"{start + len(some)} answered", timeout=600_000)
        with page.expect_download() as download:
            page.click("#csv")
        rows = list(csv.reader(download.value.path().open(newline="", encoding="utf-8")))[1:]
        browser.close()
    server.shutdown()
    for row, file in zip(rows, files, strict=True):
        ours = predictor.predict(file)
        most = max(most, float(np.abs(np.array(row[2:], float) - ours.values.numpy()).max()))
        n_other += sorted(filter(None, row[1].split(";"))) != sorted(ours.label)
    return f"{most:.1e}, {n_other}"


def in_openvino(model, predictor, files) -> str:
    """Return the largest difference of probabilities."""
    try:
        import openvino
    except ImportError:
        return "not installed"
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    most = 0.0
    for file in files:
        answers = compiled(np.asarray(Image.open(file).convert("RGB")))[0]
        most = max(most, float(np.abs(answers - predictor.predict(file).values.numpy()).max()))
    return f"{most:.1e} ({len(files)})"


def seconds(model, predictor, files) -> tuple[float, float]:
    """Return the seconds of an image from its file to its answer, here and in onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    taken = [0.0, 0.0]
    for file in files:
        began = time.perf_counter()
        predictor.predict(file)
        taken[0] += time.perf_counter() - began
        began = time.perf_counter()
        session.run(None, {"image": np.asarray(Image.open(file).convert("RGB"))})
        taken[1] += time.perf_counter() - began
    return taken[0] / len(files), taken[1] / len(files)


if __name__ == "__main__":
    main()
