"""Images in parquet files to train on: what files give, each row group read once an epoch, few of them at a time."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.audit.checks import audit
from foveal.core.errors import ImageError, InputError
from foveal.core.rng import windowed_order
from foveal.core.storage import BoundedFolder
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.images.decode import decode
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.sources.stored import ParquetImages
from foveal.tasks.multi_label import MultiCategoryBlock


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
def test_a_windowed_order_has_all_and_few_groups_at_a_time(groups, at_once, seed, epoch):
    order = windowed_order(seed, epoch, groups, at_once)
    assert sorted(order.tolist()) == list(range(len(groups)))
    again = windowed_order(seed, epoch, groups, at_once)
    assert (order == again).all()
    seen = [groups[at] for at in order]
    for at in range(len(seen)):
        begun, waited_for = set(seen[: at + 1]), set(seen[at:])
        assert len(begun & waited_for) <= at_once


def test_order_differs_by_epoch():
    groups = np.repeat(range(20), 10).tolist()
    orders = [windowed_order(0, epoch, groups, 4).tolist() for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]


@pytest.fixture
def frame(scenes):
    return pd.read_csv(scenes / "scenes.csv", keep_default_na=False)


@pytest.fixture
def shards(scenes, frame, tmp_path):
    """Three files with row groups of seven."""
    data = frame.assign(jpg=[(scenes / "scenes" / name).read_bytes() for name in frame.fname])
    for at in range(3):
        data.iloc[20 * at : 20 * at + 20].to_parquet(tmp_path / f"{at}.parquet", row_group_size=7)
    return tmp_path


def loaders(frame, get_x, **options):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=get_x,
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
    )
    return block.dataloaders(frame, bs=8, seed=5, **options)


def test_rows_are_what_files_are(scenes, frame, shards):
    images = ParquetImages(str(shards))
    assert images.frame.fname.tolist() == frame.fname.tolist()
    stored = loaders(images.frame, ColReader("stored_image"))
    files = loaders(frame, ColReader("fname", pref=scenes / "scenes"))
    for one, other in zip(stored.valid, files.valid, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    inputs = {tuple(batch.indices): batch.inputs for batch in stored.train.batches(epoch=1)}
    whole = {at: x for places, xs in inputs.items() for at, x in zip(places, xs, strict=True)}
    for batch in files.train.batches(epoch=1):
        for at, x in zip(batch.indices, batch.inputs, strict=True):
            if at in whole:  # the draws of an item are its own, in whatever order it comes
                assert torch.equal(whole[at], x)


def test_each_group_is_read_once_an_epoch_and_few_are_kept(shards, monkeypatch):
    images = ParquetImages(f"{shards}/*.parquet", cache_mib=0)
    assert images.rows.n_groups_at_once == 2
    dls = loaders(images.frame, ColReader("stored_image"), num_workers=2)
    read, opened = [], images.rows._file

    class Counting:
        def __init__(self, file):
            self.file = file

        def read_row_group(self, at, columns):
            read.append((id(self.file), at))
            assert len(images.rows._kept) <= 4
            return self.file.read_row_group(at, columns=columns)

    monkeypatch.setattr(images.rows, "_file", lambda address: Counting(opened(address)))
    for epoch in range(3):
        read.clear()
        images.rows._kept.clear()
        n_groups = len({image.group for image in dls.train.dataset.images})
        assert sum(len(batch.indices) for batch in dls.train.batches(epoch=epoch)) == 48
        assert len(read) == len(set(read)) == n_groups


def test_what_is_on_the_disk_is_not_fetched_again_unless_it_changed(shards, tmp_path, monkeypatch):
    def images():
        return ParquetImages(f"{shards}/*.parquet", cache_mib=0, cache_folder=tmp_path / "kept")

    def all_bytes(found):
        return [image.read() for image in found.frame.stored_image]

    first = all_bytes(images())
    offline = images()
    monkeypatch.setattr(offline.rows, "_file", lambda address: pytest.fail(f"fetched {address} again"))
    assert all_bytes(offline) == first
    table = pd.read_parquet(shards / "0.parquet")
    table.iloc[::-1].to_parquet(shards / "0.parquet", row_group_size=7)
    assert all_bytes(images()) == first[:20][::-1] + first[20:]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=40))
def test_a_bounded_folder_holds_the_last_and_never_too_much(writes):
    with tempfile.TemporaryDirectory() as folder:
        kept = BoundedFolder(folder, 100)
        for key, size in writes:
            kept.put(str(key), bytes([key]) * size)
            assert kept.get(str(key)) == bytes([key]) * size
            assert sum(file.stat().st_size for file in Path(folder).iterdir()) <= 100
        for key, size in dict(writes).items():
            assert kept.get(str(key)) in {None, bytes([key]) * size}
        kept.put("too much", bytes(101))
        assert kept.get("too much") is None


def test_a_folder_of_shards_is_the_source_that_the_table_is(scenes, shards):
    columns = TableColumns(empty="none")
    table = read_source(scenes / "scenes.csv", images=scenes / "scenes", columns=columns)
    source = read_source(shards, columns=columns)
    assert [(one.label, one.is_valid) for one in source.items] == [(one.label, one.is_valid) for one in table.items]
    names = [one.image.name for one in source.items]
    assert names == [f"{at // 20}.parquet#{at % 20}" for at in range(60)]
    found, files = audit(source), audit(table)
    place = {"read as", "why"}
    assert {k: v for k, v in found.figures.items() if k not in place} == {
        k: v for k, v in files.figures.items() if k not in place
    }
    assert [one.rule for one in found.findings] == [one.rule for one in files.findings]
    for one, other in zip(source.items, table.items, strict=True):
        assert (decode(one.image) == decode(other.image)).all()


def test_rows_are_audited_wherever_they_lie(shards):
    import fsspec

    for file in shards.glob("*.parquet"):
        fsspec.filesystem("memory").pipe(f"/shards/{file.name}", file.read_bytes())
    fsspec.filesystem("memory").pipe("/shards/3.parquet", (shards / "0.parquet").read_bytes())
    dls = loaders(ParquetImages("memory://shards").frame, ColReader("stored_image"))
    found = dls.check()
    assert found.figures["usable"] == 80
    assert sum(finding.rule.startswith("exact copy") for finding in found.findings) == 20
    assert not found.unusable


def test_a_run_from_shards_answers_and_reports(shards, tmp_path, foveal):
    run = tmp_path / "run"
    words = f"train {shards} --size 32 --epochs 1 --batch-size 16 --out {run}".split()
    foveal(*words, "--empty", "none")
    answers = pd.read_csv(run / "predictions.csv")
    assert answers.fname.str.fullmatch(r"\d.parquet#\d+").all()
    assert "data:image" in (run / "report.html").read_text()


def test_a_shard_that_is_written_anew_is_read_anew(shards):
    before = decode(shards / "1.parquet#0")
    table = pd.read_parquet(shards / "1.parquet")
    table.iloc[::-1].to_parquet(shards / "1.parquet")
    assert (decode(shards / "1.parquet#19") == before).all()


def test_a_name_of_a_row_that_is_not_there(shards):
    with pytest.raises(ImageError, match="has 20 rows; the last one is #19"):
        decode(shards / "0.parquet#20")
    with pytest.raises(ImageError, match="a parquet table; an image in it is named by its row"):
        decode(shards / "0.parquet")
    with pytest.raises(ImageError, match="cannot be opened"):
        decode(shards / "9.parquet#0")


def test_a_table_names_images_in_rows(shards, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("fname,label\n0.parquet#3,a\n1.parquet#19,b\n9.parquet#0,b\n")
    source = read_source(table, images=shards)
    assert [item.image for item in source.items] == [shards / "0.parquet#3", shards / "1.parquet#19"]
    assert [finding.where for finding in source.findings if finding.level == "error"] == ["labels.csv, row 4"]


def test_mistakes_are_named(scenes, frame, tmp_path):
    frame.to_parquet(tmp_path / "names.parquet")
    with pytest.raises(InputError, match="no column of images' bytes among fname, labels"):
        ParquetImages(str(tmp_path / "names.parquet"))
    with pytest.raises(InputError, match="There is no image"):
        ParquetImages(str(tmp_path / "*.pq"))
