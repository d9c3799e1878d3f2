"""Bundles: one safe file that answers the same everywhere, and nothing else is loaded."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import hostile
from foveal.core.errors import InputError, ModelFileError
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_learner
from foveal.inference.prediction import Prediction, Refused
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.vocab import Vocab


def predictor(task, **spec):
    torch.manual_seed(0)
    model = build_model(ModelSpec("resnet18", task.n_outputs, (48, 48), task.y_range, **spec))
    return Predictor.of(model, task, Preparation.of((48, 48), "crop", IMAGENET))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "model.safetensors"
    predictor(MultiLabel(Vocab(("ant", "bee", "cat")))).save(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def test_a_bundle_answers_as_the_model_did(bundle, image):
    before, after = predictor(MultiLabel(Vocab(("ant", "bee", "cat")))), load_learner(bundle)
    assert after.vocab == ("ant", "bee", "cat")
    torch.testing.assert_close(after.predict(image).values, before.predict(image).values, atol=1e-6, rtol=0)


def test_a_image_gets_one_answer_however_it_comes(bundle, image, tmp_path):
    model = load_learner(bundle)
    file = tmp_path / "x.png"
    Image.fromarray(image).save(file)
    answers = [model.predict(one).values for one in (file, str(file), file.read_bytes(), image, Image.open(file))]
    for answer in answers[1:]:
        assert torch.equal(answer, answers[0])
    alone, among = model.predict(image), list(model.predict_batch([image] * 5, batch_size=3))
    assert all(isinstance(one, Prediction) for one in among)
    torch.testing.assert_close(among[4].values, alone.values, atol=1e-5, rtol=0)


def test_points_come_back_in_the_pixels_of_the_image_given(image):
    model = predictor(Points(1))
    smooth = np.asarray(Image.fromarray(image).resize((320, 240), Image.Resampling.BICUBIC))
    small = np.asarray(Image.fromarray(smooth).reduce(4))
    np.testing.assert_allclose(model.predict(smooth).label, np.array(model.predict(small).label) * 4, atol=3)


def test_bad_images_come_back_named_among_the_others(bundle, image, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    answers = list(load_learner(bundle).predict_batch([image, tmp_path / "bad.jpg", image], num_workers=2))
    assert [type(one) for one in answers] == [Prediction, Refused, Prediction]
    assert answers[1].name == str(tmp_path / "bad.jpg")


def test_a_fresh_process_loads_it_without_the_training_code(bundle):
    code = f"""
import sys
from foveal import load_learner
print(load_learner({str(bundle)!r}).vocab)
loaded = [name for name in sys.modules if name.startswith(("foveal.training", "foveal.data", "foveal.learner", "pandas"))]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(#3) ['ant','bee','cat']"


def test_changed_bytes_are_noticed(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    generator = np.random.default_rng(0)
    header = int.from_bytes(data[:8], "little")
    for at in (*generator.integers(8 + header, len(data), 20), *generator.integers(0, 8 + header, 40)):
        changed = bytearray(data)
        changed[at] ^= 0x41
        file = tmp_path / "changed.safetensors"
        file.write_bytes(changed)
        try:
            loaded = load_learner(file)
        except InputError:
            continue
        with safe_open(bundle, "pt") as stored:  # a byte of the descriptions, then: no weight has changed
            for name, tensor in loaded.model.state_dict().items():
                assert torch.equal(tensor, stored.get_tensor(name))


def rewritten(bundle, tmp_path, change):
    with safe_open(bundle, "pt") as stored:
        manifest = json.loads(stored.metadata()["foveal"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    change(manifest, tensors)
    return hostile.bundle(tmp_path / "rewritten.safetensors", manifest, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, _: m.update(format=99), "Install a newer one"),
        (lambda m, _: m.update(surprise=1), "not valid"),
        (lambda m, _: m["preparation"]["fit"].update(size_hw=[4096, 4096]), "at most 4,194,304 are taken"),
        (lambda m, _: m["task"].update(kind="telepathy"), "no task `telepathy`"),
        (lambda m, _: m["model"].update(arch="resnet99"), "no backbone `resnet99`"),
        (lambda _, t: t.pop("1.3.weight"), "disagree about the tensor"),
        (lambda _, t: t.update(extra=torch.zeros(1)), "disagree about the tensor"),
        (lambda _, t: t["1.3.weight"].add_(1), "is not the one exported"),
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused(bundle, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_learner(rewritten(bundle, tmp_path, change))


def test_other_peoples_files_are_refused_by_name(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = tmp_path / "model.safetensors"
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelFileError, match="a pickle, which could run code"):
        load_learner(file)
    torch.save({"w": torch.zeros(1)}, file)
    with pytest.raises(ModelFileError, match="zip archive"):
        load_learner(file)
    save_file({"w": torch.zeros(1)}, file)
    with pytest.raises(ModelFileError, match="no foveal manifest"):
        load_learner(file)
    file.write_bytes(b"")
    with pytest.raises(ModelFileError, match="no safetensors file"):
        load_learner(file)
    with pytest.raises(ModelFileError, match="no model file"):
        load_learner(tmp_path / "none")
    assert not (tmp_path / "ran").exists()


def test_a_predictor_says_how_training_goes_on(bundle):
    with pytest.raises(InputError, match=r"vision_learner\(dls, 'model.safetensors'\)"):
        load_learner(bundle).fine_tune(3)
