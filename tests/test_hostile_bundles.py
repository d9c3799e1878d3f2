"""Whatever a file pretends to be: it is refused, nothing in it runs, and no changed weight is ever loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hostile
from foveal.core.errors import ModelFileError
from foveal.inference.loading import load_learner
from foveal.inference.store import read_manifest
from golden.make import image

GOLDEN = Path(__file__).parent / "golden"
IMAGES, RATINGS = GOLDEN / "images-1.safetensors", GOLDEN / "ratings-1.safetensors"


@pytest.mark.parametrize("version", [1])
def test_bundles_of_every_format_answer_as_they_did(version):
    answers = json.loads((GOLDEN / f"answers-{version}.json").read_text())
    images = load_learner(GOLDEN / f"images-{version}.safetensors")
    found = images.predict(image()).values
    # Images have been warped by OpenCV then: their pixels differed by a grey level here and there.
    torch.testing.assert_close(found, torch.tensor(answers["images"]), atol=3e-3, rtol=0)
    ratings = load_learner(GOLDEN / f"ratings-{version}.safetensors")
    found = torch.tensor([ratings.predict(user, "b").label for user in (1, 2, 99)])
    torch.testing.assert_close(found, torch.tensor(answers["ratings"]), atol=1e-5, rtol=0)
    assert images.training.figures["f1"].low == 0.25


def test_hostile_files_are_refused_without_exception(tmp_path):
    proof, seen = tmp_path / "proof", []
    for name, content in hostile.files(IMAGES, RATINGS, str(proof)):
        file = tmp_path / name
        file.write_bytes(content)
        try:
            said = f"accepted as {load_learner(file)}"
        except ModelFileError as refused:
            said = str(refused)
        assert said.startswith((f"`{file}` ", f"The manifest of `{file}` ")), name
        assert len(said) < 3000, name
        seen.append(name)
    assert len(seen) == len(set(seen)) >= 60
    assert not proof.exists()


def test_a_size_that_is_only_claimed_takes_no_memory(tmp_path):
    claims = {
        name: text
        for name, text in hostile.files(IMAGES, RATINGS, str(tmp_path / "proof"))
        if "too-" in name or "larger" in name
    }
    for name, content in claims.items():
        (tmp_path / name).write_bytes(content)
    assert len(claims) >= 5
    code = """
import resource, sys
from foveal.inference.loading import load_learner
from foveal.core.errors import ModelFileError
load_learner(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[2:]:
    try:
        load_learner(name)
    except ModelFileError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, str(IMAGES), *(str(tmp_path / name) for name in claims)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000  # kB


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("folder", "link", "pipe", "none"):
        with pytest.raises(ModelFileError, match="no model file"):
            load_learner(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("kind", ["images", "ratings"])
def test_no_mutated_bundle_is_loaded_with_changed_weights(kind, tmp_path):
    good = GOLDEN / f"{kind}-1.safetensors"
    data, rng = good.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    weights = load_learner(good).model.state_dict()
    file = tmp_path / "mutated.safetensors"
    loaded = 0
    n = int(os.environ.get("FOVEAL_MUTATED", "2000")) // 2
    for number in range(n):
        changed = bytearray(data)
        start, end = (0, header) if number % 2 else (header, len(data))
        for at in rng.integers(start, end, rng.integers(1, 4)):
            changed[at] ^= 1 << int(rng.integers(8))
        if number % 10 == 0:
            changed = changed[: int(rng.integers(len(data)))]
        file.write_bytes(changed)
        try:
            found = load_learner(file)
        except ModelFileError:
            continue
        loaded += 1
        assert bytes(changed[header:]) == data[header:]
        assert read_manifest(file) == read_manifest(good)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in found.model.state_dict().items())
    assert loaded < 0.02 * n
