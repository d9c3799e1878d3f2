"""Copies that were cropped, mirrored or edited, and images that belong to nothing, found by features."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from foveal.audit import edits
from foveal.audit.edits import edits_among
from foveal.evaluation.feature_checks import belong_to_nothing, likely_copies, strangeness

pytestmark = pytest.mark.filterwarnings("ignore")


def crop(image):
    width, height = image.size
    return image.crop((width // 4, height // 5, width, height * 9 // 10))


EDITS = {"crop": crop, "mirror": ImageOps.mirror, "mirrored crop": lambda image: ImageOps.mirror(crop(image))}


def edited(file, name, folder):
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name.replace(' ', '-')}-{file.name}"
    EDITS[name](Image.open(file).convert("RGB")).save(target, quality=85)
    return target


def test_an_edit_is_found_in_either_direction_and_a_stranger_is_not(photographs, tmp_path):
    pets = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:6]
    pairs = [(file, edited(file, name, tmp_path)) for file in pets[:3] for name in EDITS]
    strangers = [(pets[i], other) for i in range(3, 6) for _, other in pairs] + [(pets[0], pets[1])]
    both_ways = [*pairs, *[(b, a) for a, b in pairs]]
    assert edits_among([*both_ways, *strangers], num_workers=2) == both_ways
    assert edits_among(both_ways + strangers, num_workers=0) == both_ways


def test_what_is_found_in_a_mirror_image_is_known_without_looking(photographs):
    file = next((photographs / "pets_mini" / "images").glob("*.jpg"))
    looked = edits._look(file)
    mirrored = edits._mirrored(looked)
    np.testing.assert_array_equal(mirrored.grey, looked.grey[:, ::-1])
    seen = edits._points_of(np.ascontiguousarray(looked.grey[:, ::-1]))
    nearest = (edits._rooted(mirrored.points) @ edits._rooted(seen).T).argmax(axis=1)
    misses = np.linalg.norm(mirrored.points.places - seen.places[nearest], axis=1)
    assert np.mean(misses < 1) > 0.9


def test_an_image_without_a_point_is_no_edit_of_anything(tmp_path):
    for name, value in (("grey", 128), ("white", 255)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 80, 3), value, np.uint8))
    assert edits_among([(tmp_path / "grey.png", tmp_path / "white.png")]) == []


def test_pairs_are_sought_across_the_split_where_it_is_stated():
    features = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    features[39] = features[0] + 0.01
    sides = [at >= 20 for at in range(40)]
    across = list(likely_copies(features, sides))
    assert all(sides[i] != sides[j] and i < j for i, j in across)
    assert (0, 39) in across
    anywhere = list(likely_copies(features, [None] * 40))
    assert len(anywhere) == len(set(anywhere))
    assert any(sides[i] == sides[j] for i, j in anywhere)
    assert not list(likely_copies(features, [True] * 40))


def test_a_cluster_of_another_kind_is_unlike_the_rest_and_a_set_of_one_kind_is_calm():
    generator = torch.Generator().manual_seed(0)
    usual = torch.randn(400, 64, generator=generator) @ torch.diag(torch.linspace(3, 0.3, 64)) + 4
    assert len(belong_to_nothing(usual)) <= 20
    foreign = torch.randn(8, 64, generator=generator) * 0.3 - 4
    mixed = torch.cat([usual, foreign])
    found = belong_to_nothing(mixed)
    assert {at for at, _ in found[:8]} == set(range(400, 408))
    assert torch.allclose(strangeness(mixed)[[at for at, _ in found]], torch.tensor([value for _, value in found]))
    assert belong_to_nothing(usual[:49]) == []


def test_check_names_leaks_by_edits_and_what_belongs_to_nothing(photographs, tmp_path, foveal):
    pets = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:60]
    for at, file in enumerate(pets):
        folder = tmp_path / "set" / ("valid" if at % 5 == 4 else "train") / file.stem.rpartition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    leaked = edited(pets[0], "mirrored crop", tmp_path / "set" / "valid" / pets[0].stem.rpartition("_")[0])
    first = tmp_path / "set" / "train" / pets[0].stem.rpartition("_")[0]
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(first / "noise.png")
    out = foveal("check", tmp_path / "set", "--by-features", "--json")
    findings = {(one["rule"], one["level"]): one for one in json.loads(out.out)["findings"]}
    leak = findings["crop, mirror or edit of another image across the split", "warning"]
    assert leak["value"] == f"{leaked.name} and {pets[0].name} show the same"
    unlike = [one["value"] for one in json.loads(out.out)["findings"] if one["rule"] == "image unlike the rest"]
    assert unlike[0].startswith("noise.png, ")
    assert "crop, mirror" not in foveal("check", tmp_path / "set").out


def test_ratings_have_no_features(tmp_path, foveal):
    (tmp_path / "ratings.csv").write_text(
        "user,item,rating\n" + "".join(f"{n % 9},{n % 7},{n % 5}\n" for n in range(90))
    )
    printed = foveal("check", tmp_path / "ratings.csv", "--task", "rating", "--by-features", code=2)
    assert "--by-features looks at images" in printed.err
