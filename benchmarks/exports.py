#!/usr/bin/env python3
"""From files to labels: an exported model beside foveal, at three sizes, in onnxruntime and OpenVINO.

    benchmarks/exports.py MODEL.safetensors IMAGES [--most 500]

The model is asked at 64, 128 and 224 pixels, whatever it was trained at: what is compared is the same model in two
programs, and the steps before it differ most where images shrink most.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.inference.exports import export_model
from foveal.inference.loading import load_image_predictor
from foveal.sources.folders import images_in


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--most", type=int, default=500)
    args = parser.parse_args()
    files = list(images_in(args.images))[: args.most]
    print(
        "| px | images | onnxruntime: most different, other labels | OpenVINO f32 | ms an image: foveal, onnxruntime |"
    )
    print("|---|---|---|---|---|")
    for size in (64, 128, 224):
        predictor = load_image_predictor(args.model, device="cpu")
        predictor.preparation = replace(predictor.preparation, fit=replace(predictor.preparation.fit, size=size))
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.onnx"
            found = export_model(predictor, model, images=files).from_files
            other = in_openvino(model, predictor, files[:100])
            ours, theirs = seconds(model, predictor, files[:100])
        print(
            f"| {size} | {found.n} | {found.difference:.1e}, {found.n_other_labels} | {other} | {1000 * ours:.1f}, "
            f"{1000 * theirs:.1f} |",
            flush=True,
        )


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
