"""One where a list is meant, or a list where one is meant: refused where it is given, with what to write instead."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.core.errors import InputError
from foveal.evaluation.interpret import Interpretation
from foveal.images.pil import PILImage
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.metrics.several_labels import accuracy_multi
from foveal.runs.suggest import first_choice


@pytest.fixture
def learn(scene_loaders):
    learn = vision_learner(scene_loaders(num_workers=0), "test_resnet", pretrained=False, seed=0)
    learn.recorder.silent = True
    return learn


@pytest.fixture
def images(learn):
    return list(learn.dls.valid.dataset.images)


def of_one_image(file):
    pixels = PILImage.create(file)
    return [str(file), file, file.read_bytes(), pixels, np.asarray(pixels), np.asarray(pixels)[..., 0]]


def test_one_image_is_no_list_of_images(learn, images):
    predictor = learn.predictor()
    calls = [
        predictor.predict_batch,  # and not only when its answers are taken
        predictor.embed,
        lambda one: predictor.get_preds(dl=one),
        predictor.dls.test_dl,
        learn.embed,
        first_choice,
    ]
    names = [images[0], images[0], "<.* bytes>", "<PILImage>", "<ndarray>", "<ndarray>"]
    for one, name in zip(of_one_image(images[0]), names, strict=True):
        for call in calls:
            with pytest.raises(InputError, match=rf"Images come as a list, \[image\] for one; got {name}"):
                call(one)
    with pytest.raises(InputError, match=r"Images come as a list, \[image\] for one; got <NoneType>"):
        predictor.predict_batch(None)
    batch = np.zeros((3, 40, 50, 3), np.uint8)
    assert len(list(predictor.predict_batch(batch))) == len(list(predictor.predict_batch(batch[..., 0]))) == 3
    assert len(list(predictor.predict_batch(one for one in images[:2]))) == 2
    assert len(list(predictor.predict_batch({images[0]: 1}))) == 1


def test_a_list_of_images_is_no_image(learn, images):
    for many, name in (
        (images[:2], "list"),
        (tuple(images), "tuple"),
        (iter(images), "iterator"),
        (map(str, images), "map"),
    ):
        for call in (learn.predict, learn.predictor().predict):
            with pytest.raises(
                InputError, match=rf"One image is expected, got <.*{name}.*>.*predictor\(\).predict_batch"
            ):
                call(many)
    with pytest.raises(InputError, match=r"One image is expected, got <ndarray>"):
        learn.predict(np.zeros((2, 40, 50, 3), np.uint8))


@pytest.mark.parametrize("wrong", ["clip", ["clip"], 3, [3]])
def test_what_is_no_callback_is_not_added(learn, wrong):
    with pytest.raises(InputError, match=r"(3|'clip') is no callback"):
        learn.add_cb(wrong)
    with pytest.raises(InputError, match=r"(3|'clip') is no callback"):
        learn.fit(1, cbs=wrong)
    assert learn.cbs == []
    learn.fit(1)


@pytest.mark.parametrize("wrong", ["photo.jpg", ["photo.jpg"], 3])
def test_images_are_no_loader(learn, wrong):
    message = re.escape("`dl` is a loader, such as `dls.test_dl(images)` returns")
    for call in (learn.validate, learn.get_preds, learn.tta, lambda dl: Interpretation.from_learner(learn, dl=dl)):
        with pytest.raises(InputError, match=message):
            call(dl=wrong)
    assert len(learn.get_preds(dl=[learn.dls.one_batch()])[0]) == learn.dls.bs


def test_names_and_numbers_come_in_lists(learn):
    interp = Interpretation.from_learner(learn)
    n = len(interp.predictions.labels)
    for call in (interp.slices, interp.wrong_labels_by):
        for wrong in ("x" * n, n):
            with pytest.raises(InputError, match="`values` is a list of values, one per image; got"):
                call(wrong)
    for wrong in ("sun", 3):
        with pytest.raises(InputError, match=f"`only` is a list of classes; got {wrong!r}"):
            learn.tune_thresholds(only=wrong)
    learn.metrics = 3
    with pytest.raises(InputError, match="`metrics` is a list of functions.*; got 3"):
        learn.fit(1)
    learn.metrics = accuracy_multi
    for wrong in (0.9, "0.9", (0.9, 0.8), (0.9, "0.8", 0.9)):
        with pytest.raises(InputError, match=r"`moms` are three numbers.*; got"):
            learn.fit_one_cycle(1, moms=wrong)
        with pytest.raises(InputError, match=r"`moms` are three numbers.*; got"):
            learn.fine_tune(1, moms=wrong)
        with pytest.raises(InputError, match=r"`moms` are three numbers.*; got"):
            Learner(learn.dls, learn.model, moms=wrong)


@pytest.mark.parametrize("wrong", [512, "512", ["512"], [0]])
def test_widths_of_layers_come_in_a_list(learn, wrong):
    with pytest.raises(
        InputError, match=r"`lin_ftrs` is a list of widths|`lin_ftrs` must be a whole number, at least 1"
    ):
        vision_learner(learn.dls, "test_resnet", pretrained=False, lin_ftrs=wrong)


@pytest.fixture(scope="module")
def films():
    rows = [(user, film, 1 + (len(user) + len(film)) % 5) for user in ("ann", "ben", "cleo") for film in FILMS]
    frame = pd.DataFrame(rows, columns=["user", "film", "rating"])
    return collab_learner(CollabDataLoaders.from_df(frame, splitter=lambda _: (range(10), range(10, 12))), 2, seed=0)


FILMS = ("Alien", "Brazil", "Cabaret", "Dune")


def test_names_of_items_come_in_lists(films):
    predictor, model = films.predictor(), films.model
    for call, name in {
        model.bias: "names",
        model.weight: "names",
        predictor.recommend_to_new: "ratings",
        lambda one: predictor.recommend("ann", exclude=one): "exclude",
        lambda one: predictor.recommend("ann", only=one): "only",
        lambda one: list(predictor.recommend_all(users=one)): "users",
        lambda one: predictor.most_popular(exclude=one): "exclude",
        lambda one: predictor.most_popular(only=one): "only",
    }.items():
        for wrong in ("Alien", 3):
            with pytest.raises(InputError, match=f"`{name}` is a list of .*; got {wrong!r}"):
                call(wrong)


@pytest.mark.parametrize("wrong", ["ann", "an", 3, ("ann",), ("ann", "Alien", 5), ()])
def test_a_pair_is_a_user_and_an_item(films, wrong):
    for call in (films.predict, films.predictor().predict, lambda pair: list(films.predictor().predict_batch([pair]))):
        with pytest.raises(InputError, match=rf"A pair is \(user, item\); got {re.escape(repr(wrong))}"):
            call(wrong)
    with pytest.raises(InputError, match=r"`pairs` is a list of \(user, item\); got"):
        films.predictor().predict_batch("ann")
    assert films.predict("ann", "Alien").label == films.predict(["ann", "Alien"]).label


def test_layers_of_ratings_come_in_a_list(films):
    for wrong in (50, "50", [0.5]):
        with pytest.raises(InputError, match=r"`layers` is a list of widths|`layers` must be a whole number"):
            collab_learner(films.dls, use_nn=True, layers=wrong)


def test_rows_of_arrays_are_pairs(films):
    pairs = np.array([["ann", "Alien"], ["ben", "Dune"]])
    expected = [films.predict(*pair).label for pair in pairs.tolist()]
    assert [answer.label for answer in films.predictor().predict_batch(pairs)] == expected
    assert films.predict(pairs[0]).label == films.predict({"user": "ann", "film": "Alien"}).label == expected[0]
    with pytest.raises(InputError, match=r"A pair is \(user, item\); got \(\)"):
        films.predict()


def test_new_items_come_as_a_list_or_a_folder(learn, scene_loaders, scenes):
    file = min((scenes / "scenes").iterdir())
    for one in (file, str(file), "no-such-folder", file.read_bytes()):
        with pytest.raises(InputError, match=r"New items come as a list, a table or a folder; got .*Write \[image\]"):
            learn.dls.test_dl(one)


def test_thresholds_of_other_classes_change_nothing(learn):
    fitted = learn.tune_thresholds(per_class=False, only=[learn.dls.vocab[0]])
    before = learn.task.decision.thresholds
    with pytest.raises(InputError, match="8 classes need a threshold each; got 2"):
        learn.use_thresholds(replace(fitted, thresholds=(0.5, 0.5)))
    assert learn.task.decision.thresholds == before
    assert learn.tuned is fitted
