"""How often the radius of a point holds the truth, and how well spreads rank answers by their error.

    python benchmarks/point_confidence.py RUN [RUN ...] [--mirror] [--out RESULT.json]

Each RUN is the folder of `foveal train ... --points`. Its validation images are answered anew, in order, and the
heatmaps kept. Calibration and judgement are kept apart: the images are halved at random a thousand times, the factor
is chosen on one half and its radii are judged on the other. A ranking chooses nothing, so it is judged on all images.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from foveal.evaluation.predictions import Predictions
from foveal.geometry.homography import Homography
from foveal.images.prepare import collate
from foveal.inference.loading import load_learner
from foveal.metrics.conformal import conformal_quantile
from foveal.runs.folder import PREDICTIONS
from foveal.tasks.confidence import spread_of

HALVES, BATCH, CUT = 1000, 32, 0.1


@torch.inference_mode()
def answered(run, *, mirror):
    """Return (predictor, outputs, target_to_source, truth [n, N, 2]) of a run's validation images."""
    kept, predictor = Predictions.load(run / PREDICTIONS), load_learner(run / "model.safetensors", device="cpu")
    to_unit = Homography.unit_frame(predictor.preparation.input_size_hw)
    outputs, maps = [], []
    for start in range(0, len(kept.images), BATCH):
        prepared = [predictor.preparation.image(image) for image in kept.images[start : start + BATCH]]
        pixels = collate([one.pixels for one in prepared])
        output = predictor.quick(predictor.preparation.normalise(pixels))
        if mirror:  # of one point: its heatmap turned back, the mean of both answers' chances
            other = predictor.quick(predictor.preparation.normalise(pixels.flip(2))).flip(3)
            chances = [one.flatten(2).softmax(dim=2).view_as(one) for one in (output, other)]
            output = ((chances[0] + chances[1]) / 2).clamp(min=1e-12).log()
        outputs.append(output)
        maps += [one.source_to_input.then(to_unit).inverse for one in prepared]
    return predictor, torch.cat(outputs), Homography.stack(maps), kept.targets


def measures(predictor, output, target_to_source):
    """Return spreads [n, N] by name: the one in use, and others that could be."""
    task, activated = predictor.task, predictor.task.activate(output)
    found = {"expected distance (in use)": spread_of(task, output, activated, target_to_source)}
    if output.ndim != 4:
        return found
    height, width = output.shape[2:]
    chance = output.double().flatten(2).softmax(dim=2)
    xs, ys = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (width, height))
    cells = np.stack(np.meshgrid(xs, ys), axis=2).reshape(1, -1, 2)
    places = torch.from_numpy(target_to_source(cells))[:, None]
    answer = torch.from_numpy(target_to_source(activated.double().numpy()))[:, :, None]
    squares = ((places - answer) ** 2).sum(dim=3)
    corners = target_to_source(np.array([[[-1.0, -1.0], [1.0, 1.0]]]))
    diagonal = torch.from_numpy(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1))[:, None]
    entropy = -(chance * chance.clamp(min=1e-12).log()).sum(dim=2)
    peak, at = chance.max(dim=2)
    mode = torch.gather(places.expand(-1, at.shape[1], -1, -1), 2, at[..., None, None].expand(-1, -1, 1, 2))
    sharper = (output.double().flatten(2) / 0.7).softmax(dim=2)
    return found | {
        "root of the variance": (chance * squares).sum(dim=2).sqrt(),
        "expected distance, logits x 1.4": (sharper * squares.sqrt()).sum(dim=2),
        "expected distance, share of the diagonal": found["expected distance (in use)"] / diagonal,
        "entropy": entropy,
        "1 - highest chance": 1 - peak,
        "highest logit": -output.flatten(2).amax(dim=2).double(),
        "from the peak to the answer": torch.linalg.vector_norm(mode - answer, dim=3)[:, :, 0],
        "none (any order)": torch.ones_like(entropy),
    }


def cut_error(score, error):
    """Return by which share the mean error falls without the least sure answers; ties count as any order of them."""
    if (score == score[0]).all():
        return 0.0
    kept = np.argsort(score, kind="stable")[: int(np.ceil(len(error) * (1 - CUT)))]
    return 1 - error[kept].mean() / error.mean()


def risk_coverage(score, error):
    """Return the area under mean error by share answered, surest first, in pixels."""
    if (score == score[0]).all():
        return error.mean()
    ordered = error[np.argsort(score, kind="stable")]
    return (np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean()


def judged(ratios, rng):
    """Return the coverage on one half of radii chosen on the other, once per random halving."""
    held = []
    for _ in range(HALVES):
        order = rng.permutation(len(ratios))
        bound = conformal_quantile(torch.from_numpy(ratios[order[: len(ratios) // 2]]))
        held.append((ratios[order[len(ratios) // 2 :]] <= bound).mean())
    return np.array(held)


def measure(run, *, mirror):
    """Return the figures of one run."""
    predictor, output, target_to_source, truth = answered(run, mirror=mirror)
    labels = np.stack(predictor.task.decode(predictor.task.activate(output), target_to_source))
    error = np.linalg.norm(labels - truth.numpy(), axis=2).reshape(-1)
    known = ~np.isnan(error)
    spreads = {
        name: one.numpy().reshape(-1)[known] for name, one in measures(predictor, output, target_to_source).items()
    }
    error = error[known]
    spread = spreads["expected distance (in use)"]
    rng = np.random.default_rng(0)
    held, plain = judged(error / spread, rng), judged(error.copy(), rng)
    factor, constant = (conformal_quantile(torch.from_numpy(one)) for one in (error / spread, error))
    began = time.perf_counter()
    spread_of(
        predictor.task,
        output[:BATCH],
        predictor.task.activate(output[:BATCH]),
        Homography(target_to_source.matrix[:BATCH]),
    )
    seconds = time.perf_counter() - began
    return {
        "run": run.name,
        "points": len(error),
        "mean error": error.mean(),
        "median error": np.median(error),
        "coverage": held.mean(),
        "halvings within 0.87 to 0.93": ((held >= 0.87) & (held <= 0.93)).mean(),
        "coverage of one constant radius": plain.mean(),
        "median radius": np.median(spread * factor),
        "mean radius": (spread * factor).mean(),
        "constant radius": constant,
        "mean error without the 10 % least sure": error.mean() * (1 - cut_error(spread, error)),
        "cut": {name: cut_error(one, error) for name, one in spreads.items()}
        | {"perfect order": cut_error(error, error)},
        "area": {name: risk_coverage(one, error) for name, one in spreads.items()}
        | {"perfect order": risk_coverage(error, error)},
        "ms per image for the spread": 1000 * seconds / BATCH,
        "ratios": (error / spread).tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--mirror", action="store_true", help="average each heatmap with that of the mirrored image")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = [measure(run, mirror=given.mirror) for run in given.runs]
    for one in found:
        print("\n".join(f"{name}: {value}" for name, value in one.items() if name not in ("cut", "area", "ratios")))
        print()
    print(f"{'ranked by':<42}{'cut of the mean error':>24}{'area, px':>12}")
    for name in found[0]["cut"]:
        cut, area = (np.mean([one[what][name] for one in found]) for what in ("cut", "area"))
        print(f"{name:<42}{cut:>24.3f}{area:>12.2f}")
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
