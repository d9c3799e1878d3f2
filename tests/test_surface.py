"""Forms of the fast.ai book's cells that no other test holds."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import foveal.collab.all as ratings_star
import foveal.vision.all as star
from foveal.core.errors import InputError
from foveal.geometry.moves import Flip
from foveal.geometry.resize import Resize
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.models.vision import VisionModel
from foveal.tasks.single_label import CategoryBlock


@pytest.fixture(autouse=True)
def _figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def dls(scene_loaders):
    return scene_loaders(size=32, bs=8)


@pytest.fixture
def learn(dls):
    return vision_learner(dls, "test_resnet", pretrained=False, seed=0)


def test_both_stars_bring_the_same_things_under_the_same_names():
    for name in set(star.__all__) & set(ratings_star.__all__):
        ours, theirs = getattr(star, name), getattr(ratings_star, name)
        assert ours is theirs or ours.__name__ == theirs.__name__ == "matplotlib.pyplot", name
    needed = "pd np plt torch nn F partial math string random re Path L tensor first"
    for module in (star, ratings_star):
        assert set(needed.split()) <= set(module.__all__)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"max_n": 4, "figsize": (8, 6)}, (2, 2)),
        ({"nrows": 1, "ncols": 3}, (1, 3)),
        ({"nrows": 2, "ncols": 2}, (2, 2)),
    ],
)
def test_batches_are_shown_in_rows_and_columns(dls, options, shape):
    dls.show_batch(**options)
    figure = plt.gcf()
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == shape[0] * shape[1]
    if "nrows" in options:
        grid = shown[0].get_subplotspec().get_gridspec()
        assert (grid.nrows, grid.ncols) == shape
    if "figsize" in options:
        assert tuple(figure.get_size_inches()) == options["figsize"]


def test_results_are_pairs_whose_mark_and_colour_say_whether_they_agree(learn):
    learn.show_results(ds_idx=1, nrows=2, ncols=2, figsize=(6, 8))
    figure = plt.gcf()
    assert tuple(figure.get_size_inches()) == (6, 8)
    titles = [[text for text in axes.texts if text.get_text()] for axes in figure.axes if axes.images]
    assert len(titles) == 4
    colours = {}
    for texts in titles:
        said = [text for text in texts if text.get_text()[0] in "✓✗"]
        for text in said:
            colours.setdefault(text.get_text()[0], set()).add(text.get_color())
    assert all(len(found) == 1 for found in colours.values())
    assert len(set(map(frozenset, colours.values()))) == len(colours)


def test_a_function_is_drawn_between_two_numbers():
    star.plot_function(star.partial(star.sigmoid_range, low=-1, high=1), tx="x", title="range", min=-4, max=4)
    (axes,) = plt.gcf().axes
    x, y = axes.lines[0].get_data()
    assert (min(x), max(x)) == (-4, 4)
    assert np.allclose(y, 2 / (1 + np.exp(-x)) - 1, atol=1e-6)
    assert axes.get_title() == "range"


def test_fine_tune_has_the_books_parameters():
    named = list(inspect.signature(Learner.fine_tune).parameters)
    book = [
        "self",
        "epochs",
        "base_lr",
        "freeze_epochs",
        "lr_mult",
        "pct_start",
        "div",
        "lr_max",
        "div_final",
        "wd",
        "moms",
        "cbs",
        "reset_opt",
    ]
    assert [name for name in named if name in book] == book
    assert "fine_tune" in inspect.getsource(Learner.fine_tune)


def test_the_model_is_a_body_and_a_head_and_answers_with_a_number_a_class(learn, dls):
    x, _ = dls.one_batch()
    assert isinstance(learn.model, nn.Module)
    assert len(list(learn.model.children())) == 2
    assert learn.model(x).shape == learn.model.forward(x).shape == (8, 8)


def test_a_rate_that_is_far_too_high_still_ends(learn, capsys):
    learn.fine_tune(1, base_lr=0.1)
    assert capsys.readouterr().out.count("epoch") == 2


def test_the_old_name_of_the_learner_works_and_says_so(dls):
    with pytest.warns(UserWarning, match="renamed to `vision_learner`"):
        learn = star.cnn_learner(dls, "test_resnet", pretrained=False)
    assert isinstance(learn.model, VisionModel)


def test_precisions_chain(learn):
    assert learn.to_bf16().to_fp32().to_fp16() is learn


def test_copies_under_moves_are_averaged_with_the_plain_image(learn):
    plain, targets = learn.get_preds()
    only, again = learn.tta(n=0)
    assert torch.allclose(only, plain, atol=1e-6)
    assert torch.equal(again, targets)
    moved, _ = learn.tta(n=2, beta=0.0)
    mixed, _ = learn.tta(n=2, beta=0.25)
    assert torch.allclose(mixed, 0.25 * plain + 0.75 * moved, atol=1e-6)


def test_points_of_copies_are_moved_back_before_they_are_averaged(scene_loaders):
    from foveal.data.block import DataBlock
    from foveal.data.image_block import ImageBlock
    from foveal.tasks.points import PointBlock

    class Bright(nn.Module):
        """Answers with the centre of what is bright: wherever a copy was moved to, it is the same place."""

        def forward(self, x):
            weight = torch.relu(x.mean(dim=1) - 0.5)
            lines = torch.linspace(-1, 1, x.shape[2])
            total = weight.sum(dim=(1, 2)).clamp(min=1e-6)
            across = (weight.sum(dim=1) * lines).sum(dim=1) / total
            down = (weight.sum(dim=2) * lines).sum(dim=1) / total
            return torch.stack([across, down], dim=1)

    images = []
    rng = np.random.default_rng(0)
    for _ in range(8):
        image = np.zeros((64, 64, 3), dtype=np.uint8)
        row, column = rng.integers(12, 52, 2)
        image[row - 4 : row + 4, column - 4 : column + 4] = 255
        images.append((image, [float(column), float(row)]))
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=lambda pair: pair[0],
        get_y=lambda pair: pair[1],
        splitter=lambda items: (list(range(4)), list(range(4, 8))),
        item_tfms=[Resize(64), Flip(1.0)],
    )
    learn = Learner(block.dataloaders(images, bs=4), Bright())
    plain, targets = learn.get_preds()
    copies, _ = learn.tta(n=2, beta=0.0)
    assert (plain - targets).abs().max() < 0.05
    assert (copies - targets).abs().max() < 0.05  # a mirrored answer that was not moved back would be far off


def test_vectors_before_the_last_layer_are_what_it_takes(learn, scenes):
    files = sorted((scenes / "scenes").glob("*.jpg"))[:5]
    found = learn.embed(files)
    assert found.names == tuple(map(str, files))
    assert (found.vectors.shape, found.vectors.dtype) == ((5, 512), np.float32)
    last = learn.model[1][-1]
    outputs = torch.from_numpy(found.vectors) @ last.weight.detach().T
    preds = torch.stack([answer.values for answer in learn.predictor().predict_batch(files)])
    assert torch.allclose(outputs.sigmoid(), preds, atol=1e-4)
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).head(2)
    assert np.allclose(learn.embed(frame).vectors, found.vectors[:2], atol=1e-5)


def test_a_head_is_widened_for_classes_that_are_new(scene_loaders, tmp_path):
    def loaders(*dropped):
        return scene_loaders(target=CategoryBlock, size=32, bs=8, get_y=lambda r: named(r["labels"], dropped))

    def named(labels, dropped):
        kept = [name for name in labels.split() if name not in dropped]
        return kept[0] if kept else "nothing"

    before = vision_learner(loaders("kite", "sun"), "test_resnet", pretrained=False, seed=1)
    file = before.export(tmp_path / "m.safetensors")
    after = vision_learner(loaders(), str(file))
    names_before, names_after = before.dls.vocab, after.dls.vocab
    common = set(names_before) & set(names_after)
    assert len(common) >= 3
    assert len(names_after) > len(common)
    rows_before, rows_after = before.model[1][-1].weight, after.model[1][-1].weight
    for name in common:
        assert torch.equal(rows_after[list(names_after).index(name)], rows_before[list(names_before).index(name)])
    assert torch.equal(after.model[1][3].weight, before.model[1][3].weight)


def test_loaders_without_a_task_say_that_there_is_no_loss(dls):
    loaders = star.DataLoaders.from_dsets(
        star.Datasets(list(range(8)), [[float]], splits=([0, 1, 2, 3], [4, 5, 6, 7])), bs=2
    )
    with pytest.raises(InputError, match="no loss: build them with a DataBlock"):
        Learner(loaders, nn.Linear(1, 1))
