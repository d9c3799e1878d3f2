"""What a person sees who types a name at a prompt: one line, whatever the object holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.evaluation.bank import look
from foveal.evaluation.interpret import Interpretation
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.losses import MSELossFlat
from foveal.runs.door import Evaluation


def test_learners_say_what_learns_what_from_what(scene_loaders):
    learn = vision_learner(scene_loaders(num_workers=0, bs=8), "test_resnet", pretrained=False, head="linear")
    n, m = learn.dls.train.n, learn.dls.valid.n
    device = learn.dls.device
    assert repr(learn) == (
        f"Learner(test_resnet, linear head; multi-label, 8 classes; {n} items to train on, {m} to validate, bs=8; {device})"
    )
    points = vision_learner(scene_loaders(points=True, num_workers=0, bs=8), "test_resnet", pretrained=False)
    assert "; points, 1 point; " in repr(points)
    batches = DataLoader(list(zip(torch.ones(6, 1), torch.ones(6, 1), strict=True)), batch_size=3)
    plain = Learner(DataLoaders(batches, batches), nn.Linear(1, 1), MSELossFlat())
    assert repr(plain) == f"PlainLearner(Linear; 6 items to train on, 6 to validate, bs=3; {device})"


def test_answers_of_images_are_counted(scene_loaders):
    learn = vision_learner(scene_loaders(num_workers=0), "test_resnet", pretrained=False, head="linear")
    with learn.no_logging():
        learn.probe()
    images = learn.dls.valid.dataset.images
    n, m, what = len(images), learn.dls.train.n, "multi-label, 8 classes"
    predictor, predictions = learn.predictor(), learn.validation_predictions()
    shown = f"Predictor(test_resnet, linear head; {what}; images of 64 x 64; {predictor.device})"
    assert repr(predictor) == shown
    assert repr(predictor.dls) == f"Known(predictor={shown})"
    assert repr(predictions) == f"Predictions({n} images; {what})"
    held_out = learn.held_out_predictions()
    assert repr(Interpretation(predictions)) == f"Interpretation({n} images; {what})"
    assert repr(Interpretation(predictions, held_out)) == f"Interpretation({n} images, {m} held out; {what})"
    fit = learn.head_fit
    assert repr(fit) == f"HeadFit(train_loss={fit.train_loss:.4g}, held_out_loss={fit.held_out_loss:.4g})"
    embeddings = learn.embed(images)
    assert repr(embeddings) == f"Embeddings({n} images, {embeddings.vectors.shape[1]} numbers each)"
    assert repr(look(predictor, images)) == f"Bank({n} images, {embeddings.vectors.shape[1]} numbers each)"
    shown = repr(Evaluation("valid", predictions, predictions.scores(), Path()))
    assert shown.startswith(f"Evaluation('valid', {n} images: mean_average_precision 0.")
    assert "\n" not in shown
    assert len(shown) < 300


@pytest.mark.parametrize("implicit", [False, True])
def test_ratings_are_counted(implicit):
    rng = np.random.default_rng(0)
    pairs = sorted({(int(u), int(i)) for u, i in rng.integers((50, 30), size=(400, 2))})
    frame = pd.DataFrame(pairs, columns=["user", "film"])
    if not implicit:
        frame["rating"] = 1.0 + rng.integers(5, size=len(frame))
    dls = CollabDataLoaders.from_df(frame, seed=0, implicit=implicit)
    learn = collab_learner(dls, 4, seed=0)
    n_users, n_items, n = len(dls.task.users.known), len(dls.task.items.known), dls.train.n
    both = f"{n_users} users, {n_items} items"
    assert repr(dls.task.users) == f"Ids({n_users})"
    task = f"ImplicitFeedback({both})" if implicit else f"Rating({both}, from 1 to 5)"
    assert repr(dls.task) == task
    predictor = learn.predictor()
    assert repr(predictor) == f"RatingPredictor(EmbeddingDotBias; {task}; {predictor.device})"
    assert repr(learn).startswith(f"CollabLearner(EmbeddingDotBias; {task}; {n} items to train on, ")
    assert repr(dls.train.dataset) == f"RatingDataset({n} pairs)"
    assert repr(learn.known) == f"Known({n} pairs)"
    assert repr(predictor.had) == f"Interactions({n_users + 1} users, {n_items + 1} items, {n} pairs)"
    assert repr(learn.items) == "ItemTable(0 titles, 0 columns)"
    assert repr(learn.ranking) == f"Ranking({learn.ranking.about})"
