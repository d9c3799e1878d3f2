"""A user's script: it must pass `mypy --strict`."""

from pathlib import Path
from typing import assert_type

import pandas as pd

import foveal
from foveal.collab.all import CollabDataLoaders, collab_learner
from foveal.collab.predictor import RatingPredictor
from foveal.evaluation.compare import Comparison
from foveal.metrics.bootstrap import Interval
from foveal.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    ImageBlock,
    Interpretation,
    Learner,
    RandomSplitter,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    parent_label,
    vision_learner,
)

block = DataBlock(
    blocks=(ImageBlock, CategoryBlock),
    get_items=get_image_files,
    get_y=parent_label,
    splitter=RandomSplitter(0.2, seed=1),
    item_tfms=Resize(128),
    batch_tfms=aug_transforms(),
)
dls = block.dataloaders("photos", bs=32)
assert_type(dls, DataLoaders)
learn = vision_learner(dls, "resnet18", metrics=accuracy, recipe="best")
assert_type(learn, Learner)
learn.fine_tune(4)
learn.fit_one_cycle(3, lr_max=1e-3)
prediction = learn.predict("cat.jpg")
assert_type(prediction, foveal.Prediction)
assert_type(learn.predictor(), foveal.Predictor)
assert_type(learn.export("model.safetensors"), Path)
assert_type(Interpretation.from_learner(learn), Interpretation)

run = foveal.train("train.csv", images="photos", size=128, folds=5, points="x,y")
assert_type(run, foveal.Run)
assert_type(run.metrics, dict[str, Interval])
assert_type(run.predictions, pd.DataFrame)
assert_type(run.predictor().predict(b"..."), foveal.Prediction)
assert_type(run.report(by=["camera"]), Path)
assert_type(run.compare("runs/other"), Comparison)
assert_type(foveal.compare(run, "runs/other"), Comparison)
assert_type(foveal.load_learner("model.safetensors"), foveal.Predictor)
for answer in foveal.load_learner("model.safetensors").predict_batch(["a.jpg"]):
    assert_type(answer, foveal.Prediction | foveal.Refused)
hints = [finding.hint for finding in foveal.check("train.csv", images="photos").errors]
assert_type(hints, list[str])

ratings = collab_learner(CollabDataLoaders.from_df(pd.DataFrame()), n_factors=5)
assert_type(ratings.predictor(), RatingPredictor)
assert_type(ratings.predict(3, 7), foveal.Prediction)
