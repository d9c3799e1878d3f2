"""Writes the golden bundles of the present format; those of older formats stay as they are.

python tests/golden/make.py
"""

import json
from pathlib import Path

import numpy as np
import torch

from foveal.collab.model import CollabSpec, collab_model
from foveal.collab.predictor import RatingPredictor
from foveal.collab.task import Ids, Rating
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.manifest import FORMAT, MetricPart, TrainingPart
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab

HERE = Path(__file__).parent


def image() -> np.ndarray:
    """An image that needs no file."""
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, (x * y) % 256], axis=2).astype(np.uint8)


def coarse(model: torch.nn.Module) -> torch.nn.Module:
    """Round weights to eighths of their spread, so that the file packs well."""
    for parameter in model.parameters():
        step = float(parameter.detach().abs().mean()) / 2 or 1.0
        parameter.data = (parameter.data / step).round() * step
    return model


def main() -> None:
    torch.manual_seed(0)
    trained = TrainingPart(
        source="golden.csv", weights="random weights", made="2026-11-22", n_train=9, n_valid=3,
        counts={"ant": 4, "bee": 3, "cat": 2}, valid_loss=0.5,
        figures={"f1": MetricPart(value=0.5, low=0.25, high=0.75)}, parts={"ant": {"threshold": 0.5, "recall": None}},
    )  # fmt: skip
    task = MultiLabel(Vocab(("ant", "bee", "cat")), Decision((0.4, 0.5, 0.6), 1.5))
    model = coarse(build_model(ModelSpec("test_efficientnet", 3, (32, 32), None, "linear")))
    torch.nn.init.normal_(model.linear.weight)
    preparation = Preparation.of((32, 32), "crop", IMAGENET)
    outputs = Predictor.of(model, task, preparation).predict(image()).values.logit()
    model.linear.weight.data *= 3 / outputs.abs().max()  # answers that differ from a half
    images = Predictor.of(model, task, preparation, trained)
    images.save(HERE / f"images-{FORMAT}.safetensors")
    task = Rating(Ids((1, 2, 3)), Ids(("a", "b", "c", "d")), ("user", "title", "stars"), 1.0, 5.0)
    model = collab_model(CollabSpec(4, 5, (3, 3), (0.0, 5.5)), task.users, task.items)
    for table in model.children():
        torch.nn.init.normal_(table.weight)
    ratings = RatingPredictor.of(model, task, torch.tensor([[1, 1], [2, 3]]))
    ratings.save(HERE / f"ratings-{FORMAT}.safetensors")
    answers = {
        "images": images.predict(image()).values.tolist(),
        "ratings": [ratings.predict(user, "b").label for user in (1, 2, 99)],
    }
    (HERE / f"answers-{FORMAT}.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
