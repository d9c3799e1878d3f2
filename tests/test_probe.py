"""The probe finds the best linear head: compared with scikit-learn, and on real photographs."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from foveal.data.block import CategoryBlock, DataBlock, ImageBlock, MultiCategoryBlock, PointBlock
from foveal.data.labels import ColReader, RegexLabeller, using_attr
from foveal.errors import InputError, UnknownNameError
from foveal.geometry.fit import Resize
from foveal.losses import binary_cross_entropy, cross_entropy
from foveal.metrics import accuracy, mean_average_precision
from foveal.sources.folders import get_image_files
from foveal.splits.splitters import ColSplitter
from foveal.splits.stratify import StratifiedSplitter
from foveal.train import probe
from foveal.vision.learner import vision_learner


@pytest.fixture
def blobs():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(240, 12, generator=generator) * torch.linspace(0.1, 20, 12) + 3
    truth = torch.randn(12, 3, generator=generator) / torch.linspace(0.1, 20, 12)[:, None]
    noise = torch.randn(240, 3, generator=generator)
    return features, (features - 3) @ truth + noise


def test_one_label_agrees_with_scikit_learn(blobs):
    features, scores = blobs
    targets = scores.argmax(dim=1)
    layer, strength = probe.linear_fit(features, targets, cross_entropy, 3)
    standard = (features - features.mean(0)) / features.std(0, unbiased=False)
    # mean loss + s/2 |W|^2 / C  =  (C_sk * sum of losses + 1/2 |W|^2) / (C_sk n)  with  C_sk = C / (s n)
    reference = LogisticRegression(C=3 / (strength * len(features)), max_iter=5000, tol=1e-8)
    reference.fit(standard.numpy(), targets.numpy())
    expected = torch.from_numpy(reference.predict_proba(standard.numpy())).float()
    torch.testing.assert_close(layer(features).softmax(dim=1), expected, atol=5e-3, rtol=0)


def test_several_labels_agree_with_one_regression_a_label_and_unknowns_are_left_out(blobs):
    features, scores = blobs
    targets = (scores > 1).float()
    targets[::7, 0] = torch.nan
    layer, strength = probe.linear_fit(features, targets, binary_cross_entropy, 3)
    standard = ((features - features.mean(0)) / features.std(0, unbiased=False)).numpy()
    known = ~targets.isnan()
    for at in range(3):
        rows = known[:, at].numpy()
        reference = LogisticRegression(C=3 / (strength * int(known.sum())), max_iter=5000, tol=1e-8)
        reference.fit(standard[rows], targets[known[:, at], at].numpy())
        found = layer(features)[:, at].sigmoid().detach().numpy()
        np.testing.assert_allclose(found, reference.predict_proba(standard)[:, 1], atol=1e-2)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_pictures_is_enough_to_answer(n):
    features = torch.randn(n, 4)
    layer, _ = probe.linear_fit(features, torch.ones(n, 2), binary_cross_entropy, 2)
    assert layer(features).isfinite().all()


def test_a_probe_on_real_photographs_is_far_ahead_of_chance(photographs):
    """37 breeds, seven pictures of each to train on: the book's recipe ends at an error of .44."""
    files = get_image_files(photographs / "pets_mini" / "images")
    label = using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        splitter=StratifiedSplitter(lambda file: [label(file)], valid_pct=0.3, seed=0),
        get_y=label,
        item_tfms=Resize(160),
    )
    learn = vision_learner(block.dataloaders(files, bs=32), "tf_efficientnet_lite0", head="linear", metrics=accuracy)
    learn.recorder.silent = True
    learn.probe()
    assert learn.recorder.history[0].metrics["accuracy"] > 0.75
    assert learn.validate()[1] == pytest.approx(learn.recorder.history[0].metrics["accuracy"])
    seen = learn.dls.train.dataset.pictures[:6]
    assert sum(learn.predict(file).label == label(file) for file in seen) >= 5


def test_what_cannot_be_probed_is_named(scenes):
    frame = pd.read_csv(scenes / "balloons.csv")
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=lambda r: [r["x"], r["y"]],
        item_tfms=Resize(32),
    )
    dls = block.dataloaders(frame, bs=4)
    with pytest.raises(InputError, match=r"head='linear'.*`linear` with a range"):
        vision_learner(dls, "test_resnet", pretrained=False, head="linear").probe()
    with pytest.raises(UnknownNameError, match="Did you mean `linear`"):
        vision_learner(dls, "test_resnet", pretrained=False, head="linaer")


def test_a_run_goes_on_from_the_probe(scenes):
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=Resize(64),
    )
    learn = vision_learner(
        block.dataloaders(frame, bs=16), "tf_efficientnet_lite0", head="linear", metrics=mean_average_precision
    )
    learn.recorder.silent = True
    learn.fine_tune(1, 1e-5, probe=True)
    first, second = learn.recorder.history
    assert second.valid_loss == pytest.approx(first.valid_loss, rel=0.2)
