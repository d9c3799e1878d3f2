"""Answers in shards, in this process and by a real Ray on this machine: none lost, none twice, the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

MODEL = Path(__file__).parent / "golden" / "images-1.safetensors"


@pytest.fixture(scope="module")
def images(scenes, tmp_path_factory):
    """A folder of 60 good images and a bad one."""
    folder = tmp_path_factory.mktemp("images")
    for file in (scenes / "scenes").glob("*.jpg"):
        (folder / file.name).symlink_to(file)
    (folder / "bad.jpg").write_bytes(b"x")
    return folder


def read(folder):
    return pd.read_parquet(folder).sort_values("fname", ignore_index=True)


def test_shards_hold_what_one_table_holds(images, tmp_path, foveal):
    foveal("predict", MODEL, images, "--out", tmp_path / "one.parquet", code=1)
    said = foveal("predict", MODEL, images, "--out", tmp_path / "many", "--shard-size", 25, code=1)
    assert "60 of 61" in said.out
    pd.testing.assert_frame_equal(read(tmp_path / "many"), read(tmp_path / "one.parquet"), rtol=0, atol=1e-5)
    assert len(list((tmp_path / "many").glob("part-*.parquet"))) == 3
    refused = pd.read_csv(tmp_path / "many" / "_refused.csv")
    assert refused.fname.tolist() == [str(images / "bad.jpg")]


def test_finished_shards_are_not_done_again(images, tmp_path, foveal):
    out = tmp_path / "many"
    foveal("predict", MODEL, images, "--out", out, "--shard-size", 20, code=1)
    whole = read(out)
    parts = sorted(out.glob("part-*.parquet"))
    parts[1].unlink()
    (out / "_finished" / "000001.json").unlink()
    times = [parts[at].stat().st_mtime_ns for at in (0, 2)]
    foveal("predict", MODEL, images, "--out", out, "--shard-size", 20, "--resume", code=1)
    pd.testing.assert_frame_equal(read(out), whole, rtol=0, atol=1e-5)
    assert [parts[at].stat().st_mtime_ns for at in (0, 2)] == times


def test_another_run_is_refused(images, scenes, tmp_path, foveal):
    out = tmp_path / "many"
    assert "nothing to resume" in foveal("predict", MODEL, images, "--out", out, "--resume", code=2).err
    foveal("predict", MODEL, images, "--out", out, code=1)
    assert "--resume" in foveal("predict", MODEL, images, "--out", out, code=2).err
    other = foveal("predict", MODEL, scenes / "scenes", "--out", out, "--resume", code=2)
    assert "other images" in other.err
    assert "`ray`" in foveal("predict", MODEL, images, "--out", tmp_path / "x", "--engine", "rey", code=2).err


def test_tables_and_addresses_give_what_files_give(images, tmp_path, foveal):
    """Paths, bytes, and bytes with their names; row groups smaller and larger than a shard; any fsspec address."""
    good = sorted(images.glob("scene_*.jpg"))
    expected = None
    pd.DataFrame({"fname": [file.name for file in good]}).to_parquet(images / "paths.parquet", row_group_size=7)
    pd.DataFrame({"jpg": [file.read_bytes() for file in good]}).to_parquet(tmp_path / "b.parquet", row_group_size=50)
    named = [{"bytes": file.read_bytes(), "path": file.name} for file in good]
    pd.DataFrame({"image": named}).to_parquet(tmp_path / "named.parquet", row_group_size=9)
    for at, source in enumerate((images / "paths.parquet", tmp_path / "b.parquet", tmp_path / "named.parquet", None)):
        out = tmp_path / f"out{at}"
        address = source or f"file://{images}/scene_*.jpg"
        if at == 2:
            address = tmp_path / "named.p*"
        foveal("predict", MODEL, address, "--out", out, "--shard-size", 13)
        found = pd.read_parquet(out)
        numbers = found.select_dtypes("number")
        assert found.fname.is_unique
        expected = numbers if expected is None else expected
        pd.testing.assert_frame_equal(numbers, expected, rtol=0, atol=1e-5)
    (images / "paths.parquet").unlink()


def test_a_table_names_images_beside_it_alone_unless_asked(images, tmp_path, foveal):
    """Who sends a table must not choose which files of another machine, and which addresses, are read."""
    private = tmp_path / "private.jpg"
    private.write_bytes(min(images.glob("scene_*.jpg")).read_bytes())
    folder = tmp_path / "sent"
    (folder / "below").mkdir(parents=True)
    shutil.copy(private, folder / "below" / "own.jpg")
    own = ["below/own.jpg", str(folder / "below" / "own.jpg"), "below/../below/own.jpg"]
    others = [
        "../private.jpg",
        str(private),
        f"file://{private}",
        "http://127.0.0.1:9/a.jpg",
        "below/../../private.jpg",
    ]
    pd.DataFrame({"fname": own + others}).to_parquet(folder / "table.parquet")
    foveal("predict", MODEL, folder / "table.parquet", "--out", tmp_path / "out", code=1)
    assert len(pd.read_parquet(tmp_path / "out")) == len(own)
    refused = pd.read_csv(tmp_path / "out" / "_refused.csv")
    assert list(refused.fname) == others
    assert all("it lies elsewhere; --anywhere reads it" in reason for reason in refused.refused)
    foveal("predict", MODEL, folder / "table.parquet", "--out", tmp_path / "all", "--anywhere", code=1)
    assert len(pd.read_parquet(tmp_path / "all")) == len(own) + len(others) - 1  # nobody answers at that address
    assert (
        "other images"
        in foveal(
            "predict", MODEL, folder / "table.parquet", "--out", tmp_path / "out", "--resume", "--anywhere", code=2
        ).err
    )


def test_what_is_not_there_is_named(tmp_path, foveal):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "numbers.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    for address, said in (
        (tmp_path / "numbers.parquet", "no column of images among a"),
        (tmp_path / "junk.parquet", "is no parquet table"),
        (tmp_path / "absent.parquet", "cannot be opened"),
        ("memory://nothing", "There is no image"),
        ("nowhere://x", "cannot be listed"),
    ):
        assert said in foveal("predict", MODEL, address, "--out", tmp_path / "out", code=2).err


def test_ray_gives_the_same_also_when_a_worker_is_killed(images, tmp_path, foveal):
    good = sorted(map(str, images.glob("scene_*.jpg"))) * 20
    names = "\n".join([*good, str(images / "bad.jpg")])
    options = [MODEL, "-", "--shard-size", 60, "--out"]
    command = [sys.executable, "-m", "foveal", "predict", *options, tmp_path / "ray", "--engine", "ray"]
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdin.write(names)
    process.stdin.close()
    process.stdin = None
    victim = None
    while process.poll() is None and victim is None:
        if list((tmp_path / "ray" / "_finished").glob("*")):
            victim = next(iter(workers()), None)
        time.sleep(0.01)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    assert "1,200 of 1,201 images answered" in out
    here = pd.read_parquet(tmp_path / "ray")
    foveal("predict", MODEL, *sorted(set(good)), "--out", tmp_path / "here")
    once = read(tmp_path / "here")
    assert here.fname.value_counts().eq(20).all()
    for _, group in here.groupby(here.groupby("fname").cumcount()):
        found = group.sort_values("fname", ignore_index=True)
        pd.testing.assert_frame_equal(found, once, rtol=0, atol=1e-5)


def workers():
    """Return the process numbers of Ray's actors."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::") and b"MapWorker" in words:
            yield int(place.name)
