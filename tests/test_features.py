"""Features that are kept: the same numbers as computed ones, found by content, bounded, and never somebody else's."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.core import kept
from foveal.core.errors import InputError
from foveal.learner.vision import vision_learner
from foveal.tasks.single_label import CategoryBlock
from foveal.training import features
from foveal.training.features import FeatureFolder, features_of, key_of, rounded
from foveal.training.probes.linear import PooledFeatures

CPU = torch.device("cpu")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty folder where features are kept."""
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "features"


@pytest.fixture
def counted(monkeypatch):
    """How many images went through a body."""
    seen = []
    forward = PooledFeatures.forward

    def note(self, image):
        seen.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(PooledFeatures, "forward", note)
    return seen


def learner(dls, **options):
    return vision_learner(dls, head="linear", seed=0, **options)


def computed(learn, loader):
    pooled = PooledFeatures(learn.model.body)
    return features_of(pooled, loader, pooled.about, precision="fp32", device=CPU)


def test_a_second_probe_computes_nothing_and_finds_the_same(home, counted, scene_loaders):
    dls = scene_loaders()
    first, second = learner(dls), learner(dls)
    first.probe()
    n = sum(counted)
    assert n == dls.train.n
    second.probe()
    assert sum(counted) == n
    assert torch.equal(first.model.linear.weight, second.model.linear.weight)
    assert list(home.glob("*/*.safetensors"))


def test_kept_and_not_kept_are_equal_to_the_bit(home, monkeypatch, scene_loaders):
    dls = scene_loaders()
    learn = learner(dls)
    kept = computed(learn, dls.train.in_order())
    monkeypatch.setenv("FOVEAL_FEATURES_MIB", "0")
    plain = computed(learn, dls.train.in_order())
    assert torch.equal(kept.outputs, plain.outputs)
    assert torch.equal(kept.targets, plain.targets)
    with torch.no_grad():
        exact = torch.cat([PooledFeatures(learn.model.eval().body)(x) for x, _ in dls.train.in_order()])
    torch.testing.assert_close(kept.outputs, exact, rtol=1e-3, atol=1e-4)  # float16 has 11 bits


def test_only_what_is_new_is_computed(home, counted, scene_loaders):
    dls = scene_loaders()
    learn = learner(dls)
    dataset = dls.train.dataset
    computed(learn, dls.train.in_order().new(dataset.subset(range(10))))
    assert sum(counted) == 10
    whole = computed(learn, dls.train.in_order())
    assert sum(counted) == dls.train.n
    turned = computed(learn, dls.train.in_order().new(dataset.subset(range(dls.train.n - 1, -1, -1))))
    assert sum(counted) == dls.train.n
    assert torch.equal(turned.outputs.flip(0), whole.outputs)


def test_another_body_size_or_preparation_has_rows_of_its_own(home, counted, scene_loaders):
    dls = scene_loaders()
    learn = learner(dls)
    computed(learn, dls.train.in_order())
    n = sum(counted)
    with torch.no_grad():
        next(learn.model.body.parameters()).mul_(1.01)
    computed(learn, dls.train.in_order())
    assert sum(counted) == 2 * n
    other = scene_loaders(size=96)
    computed(learner(other), other.train.in_order())
    assert sum(counted) == 3 * n


def test_a_changed_image_is_another_image(home, scene_loaders, tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    before = key_of(picture)
    Image.new("RGB", (8, 8), "blue").save(picture)
    assert key_of(picture) != before
    assert key_of(picture) == key_of(picture.read_bytes()) == key_of(str(picture))
    pixels = np.asarray(Image.open(picture))
    assert key_of(pixels) == key_of(Image.open(picture))
    assert key_of(pixels) != key_of(pixels.reshape(4, 16, 3))


def folder_of(root, n_bytes=1 << 20, **description):
    return FeatureFolder(root, n_bytes, {"body": "a", **description})


def rows_of(n, start=0):
    return torch.arange(start, start + n, dtype=torch.float32)[:, None].repeat(1, 4)


KEYS = [bytes([n]) * 16 for n in range(8)]


@pytest.mark.parametrize("damage", ["cut", "foreign", "text"])
def test_a_damaged_or_foreign_file_is_noticed_and_computed_anew(damage, tmp_path):
    store = folder_of(tmp_path)
    assert torch.equal(store.rows(KEYS, lambda at: rows_of(len(at))), rows_of(8))
    (file,) = store.folder.glob("*.safetensors")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "text":
        file.write_text("not a tensor")
    else:
        other = folder_of(tmp_path, body="b")
        other.rows(KEYS, lambda at: rows_of(len(at), 100))
        shutil.copy(next(other.folder.glob("*.safetensors")), file)
    with pytest.warns(UserWarning, match="holds no features of this body"):
        again = store.rows(KEYS, lambda at: rows_of(len(at), 50))
    assert torch.equal(again, rows_of(8, 50))


def test_no_more_is_kept_than_is_allowed_and_the_oldest_goes(tmp_path):
    stores = [folder_of(tmp_path, n_bytes=1500, body=str(n)) for n in range(5)]
    for number, store in enumerate(stores):
        store.rows(KEYS, lambda at: rows_of(len(at)))
        for file in store.folder.glob("*.safetensors"):
            os.utime(file, (number, number))
    files = list(tmp_path.glob("*/*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 1500
    assert not list(stores[0].folder.glob("*.safetensors"))
    assert list(stores[-1].folder.glob("*.safetensors"))


def test_where_nothing_can_be_written_it_is_said_and_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    store = folder_of(tmp_path / "file")
    monkeypatch.setattr(kept, "_told", set())
    with pytest.warns(UserWarning, match="What was computed is not kept for the next time"):
        assert torch.equal(store.rows(KEYS, lambda at: rows_of(len(at))), rows_of(8))


def test_the_limit_is_a_number(monkeypatch, scene_loaders):
    monkeypatch.setenv("FOVEAL_FEATURES_MIB", "1 GB")
    dls = scene_loaders()
    with pytest.raises(InputError, match="FOVEAL_FEATURES_MIB must be a whole number"):
        learner(dls).probe()


def test_numbers_beyond_float16_stay_finite():
    assert rounded(torch.tensor([1e9, -1e9])).isfinite().all()


def test_targets_are_those_of_the_batches(home, scene_loaders):
    for target in (None, CategoryBlock):
        options = {"get_y": lambda row: row["labels"][:1]} if target else {}
        dls = scene_loaders(target=target, **options)
        found = computed(learner(dls), dls.train.in_order())
        assert torch.equal(found.targets, torch.cat([y for _, y in dls.train.in_order()]))
    assert features.VERSION == 3
