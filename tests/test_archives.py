"""Data sets over a network that breaks, lies and sends the wrong thing; archives that mean harm."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from foveal.core.download import Checksum, download
from foveal.core.errors import FetchError, InputError, UnknownNameError
from foveal.sources import archives
from foveal.sources.archives import Archive, unpack
from foveal.sources.book_sets import Sample, URLs, untar_data


def tgz(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


CONTENT = tgz({"set/a.txt": b"a" * 1000, "set/deep/b.bin": bytes(range(256)) * 3000})


SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `drops` ends every answer after 1,000 bytes, `wrong` sends other bytes, `long` too many."""

    ranges = True

    def do_GET(self):
        body = {"/wrong.tgz": CONTENT[::-1], "/long.tgz": CONTENT * 2, "/page.html": b"<html></html>"}.get(
            self.path, CONTENT
        )
        start = 0
        if self.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + 1000] if self.path == "/drops.tgz" else body[start:])

    def log_message(self, *_):
        pass


@pytest.fixture(params=[True, False], ids=["with ranges", "without ranges"])
def server(request, monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path / "nobody")
    handler = type("Serving", (Handler,), {"ranges": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", request.param
        httpd.shutdown()
        thread.join()


def archive(address, **changes):
    about = {"folder": "set", "n_bytes": len(CONTENT), "md5_head": hashlib.md5(CONTENT[: 1 << 20]).hexdigest()}  # noqa: S324
    return Archive(address, **(about | changes))


def test_a_data_set_comes_whole_and_then_from_disk(server):
    address, _ = server
    folder = untar_data(archive(f"{address}/good.tgz"))
    assert [path.name for path in folder.ls()] == ["a.txt", "deep"]
    assert (folder / "deep" / "b.bin").read_bytes() == bytes(range(256)) * 3000
    assert untar_data(archive("http://127.0.0.1:9/gone.tgz")) == folder


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    address, ranges = server
    target, tries = tmp_path / "x.tgz", 0
    while tries < 20 and not target.exists():
        tries += 1
        try:
            download(f"{address}/drops.tgz", target, Checksum(SHA256), n_bytes=len(CONTENT))
        except FetchError as error:
            assert "ended after" in str(error) or "could not be fetched" in str(error)  # noqa: PT017
    assert target.exists() == ranges
    if ranges:
        assert target.read_bytes() == CONTENT
        assert tries == -(-len(CONTENT) // 1000)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("wrong.tgz", {}, "has the md5 .* over its first 1,048,576 bytes, expected"),
        ("long.tgz", {}, "sends more than"),
        ("good.tgz", {"n_bytes": len(CONTENT) + 5}, "ended after"),
    ],
)
def test_what_is_not_right_is_not_kept_and_the_way_out_is_said(server, tmp_path, name, changes, message):
    address, _ = server
    with pytest.raises((FetchError, InputError), match=message) as caught:
        untar_data(archive(f"{address}/{name}", **changes))
    assert not (tmp_path / "home" / "data" / "set").exists()
    if isinstance(caught.value, FetchError):
        assert "By hand: unpack" in str(caught.value)


def test_a_folder_of_fastais_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    (tmp_path / ".fastai" / "data" / "oxford-iiit-pet").mkdir(parents=True)
    assert untar_data(URLs.PETS) == tmp_path / ".fastai" / "data" / "oxford-iiit-pet"


def test_an_unknown_data_set_gets_the_near_match():
    with pytest.raises(UnknownNameError, match="Did you mean `PETS`"):
        untar_data("PET")


def special(name, kind, link="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(name, *, mode=0o100644):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"x")
    return file.getvalue()


def with_header(kind, n_bytes):
    """An archive whose first member is a header of zeros: some kB that would take all the memory."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=9) as out:
        info = tarfile.TarInfo("././@PaxHeader")
        info.type, info.size = kind, n_bytes
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(n_bytes >> 20):
            out.write(bytes(1 << 20))
    return file.getvalue()


HOSTILE = {
    **{f"header {kind!r}": with_header(kind, 64 << 20) for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, b"L")},
    "parent": tgz({"set/../../evil": b"x"}),
    "absolute": tgz({"/evil": b"x"}),
    "symlink": tgz({"set/l": special("set/l", tarfile.SYMTYPE)}),
    "hardlink": tgz({"set/l": special("set/l", tarfile.LNKTYPE)}),
    "device": tgz({"set/d": special("set/d", tarfile.CHRTYPE)}),
    "fifo": tgz({"set/f": special("set/f", tarfile.FIFOTYPE)}),
    "twice": tgz({"set/a": b"1", "./set/a": b"2"}),
    "backslash": tgz({"..\\evil": b"x"}),
    "drive": tgz({"C:evil": b"x"}),
    "cut": CONTENT[: len(CONTENT) // 2],
    "no archive": b"hello",
    "zip parent": zipped("../evil"),
    "zip symlink": zipped("set/l", mode=0o120777),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(name, tmp_path):
    file = tmp_path / "x.archive"
    file.write_bytes(HOSTILE[name])
    target = tmp_path / "deep" / "target"
    with pytest.raises(InputError, match=r"x\.archive"):
        unpack(file, target / "set")
    assert list(target.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "x.archive"]


def test_an_archive_is_what_it_begins_as(tmp_path):
    """A hash over the first bytes alone says nothing of a zip behind them."""
    (tmp_path / "both.tgz").write_bytes(CONTENT + zipped("evil"))
    unpack(tmp_path / "both.tgz", tmp_path / "set")
    assert sorted(file.name for file in (tmp_path / "set").iterdir()) == ["a.txt", "deep"]


def test_a_zip_comes_out(tmp_path):
    file = tmp_path / "x.zip"
    file.write_bytes(zipped("set/a"))
    unpack(file, tmp_path / "set")
    assert (tmp_path / "set" / "a").read_bytes() == b"x"
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(file, tmp_path / "set")
    (tmp_path / "set" / "old").touch()
    unpack(file, tmp_path / "set", replace=True)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({"other/a": b"1"}, ["a"]),  # one folder, whatever its name
        ({"set/a": b"1", "__MACOSX/set/._a": b"", ".DS_Store": b"", "._set": b""}, ["a"]),
        ({"set/images/a": b"1", "b.txt": b"2"}, ["b.txt", "set"]),  # as the birds' archive is
        ({"a": b"1"}, ["a"]),
        ({"train/a": b"1", "valid/b": b"2"}, ["train", "valid"]),
    ],
)
def test_what_an_archive_holds_at_its_top_becomes_the_folder(members, names, tmp_path):
    (tmp_path / "x.tgz").write_bytes(tgz(members))
    unpack(tmp_path / "x.tgz", tmp_path / "out" / "set")
    assert sorted(path.name for path in (tmp_path / "out" / "set").iterdir()) == names
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set"]


# What `untar_data` takes


def test_folders_can_be_chosen_as_in_the_course(server, tmp_path):
    address, _ = server
    it = archive(f"{address}/good.tgz")
    data = tmp_path / "mine"
    assert untar_data(it, data=data) == untar_data(it, None, data) == untar_data(it, dest=str(data)) == data / "set"
    assert (tmp_path / "home" / "archives" / "good.tgz").read_bytes() == CONTENT
    assert untar_data(it, base=tmp_path / "base") == tmp_path / "base" / "data" / "set"
    assert (tmp_path / "base" / "archives" / "good.tgz").is_file()
    untar_data(it, tmp_path / "kept", tmp_path / "elsewhere")
    assert (tmp_path / "kept" / "good.tgz").is_file()
    drawn = Sample("drawn", lambda folder: (folder / "x").touch())
    assert untar_data(drawn, data=data) == data / "drawn"
    (data / "drawn" / "y").touch()
    assert len(untar_data(drawn, data=data).ls()) == 2
    assert len(untar_data(drawn, data=data, force_download=True).ls()) == 1


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path, monkeypatch):
    """Who came first may be reading it: it is the very folder, and nothing is left beside it."""

    def write(beside):  # and the other process is done before
        (beside / "x").write_text("second")
        (tmp_path / "drawn").mkdir(exist_ok=True)
        (tmp_path / "drawn" / "x").write_text("first")

    sample = Sample("drawn", write)
    folder = untar_data(sample, data=tmp_path)
    first = folder.stat().st_ino
    assert (folder / "x").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]
    assert untar_data(sample, data=tmp_path, force_download=True).stat().st_ino != first
    assert (folder / "x").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]

    file, unpacked = tmp_path / "x.tgz", tmp_path / "set"
    file.write_bytes(CONTENT)
    members = archives._members

    def unpacked_meanwhile(of):
        yield from members(of)
        unpacked.mkdir()
        (unpacked / "a.txt").write_text("first")

    monkeypatch.setattr(archives, "_members", unpacked_meanwhile)
    unpack(file, unpacked)
    assert [path.name for path in unpacked.iterdir()] == ["a.txt"]
    assert (unpacked / "a.txt").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"drawn", "set", "x.tgz"}


def test_a_data_set_is_fetched_again_on_request(server):
    address, _ = server
    it = archive(f"{address}/good.tgz")
    folder = untar_data(it)
    (folder / "a.txt").write_bytes(b"changed")
    assert (untar_data(it) / "a.txt").read_bytes() == b"changed"
    with pytest.raises(FetchError):
        untar_data(archive(f"{address}/wrong.tgz"), force_download=True)
    assert (folder / "a.txt").read_bytes() == b"changed"  # until the new one is whole
    assert (untar_data(it, force_download=True) / "a.txt").read_bytes() == b"a" * 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"c_key": "model"}, "`c_key` can be 'data' only, got 'model'"),
        ({"force_dowload": True}, "Did you mean `force_download`"),
        ({"fname": "x"}, "no argument `fname`"),
        ({"data": "a", "dest": "b"}, "give one of them"),
        ({"sha256": "00"}, "for an address of your own"),
    ],
)
def test_an_argument_that_is_not_supported_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        untar_data(URLs.PETS, **arguments)


def test_an_address_of_ones_own_is_fetched_and_its_hash_printed_once(server, capsys):
    address, _ = server
    folder = untar_data(f"{address}/deep/my set.tgz?raw=1")
    assert folder.name.startswith("my_set-")
    assert [path.name for path in folder.ls()] == ["a.txt", "deep"]
    assert f"sha256='{SHA256}'" in capsys.readouterr().out
    other = untar_data(f"{address}/other/my set.tgz?raw=1", sha256=SHA256)
    assert other != folder  # the same name, from somewhere else
    assert capsys.readouterr().out == ""
    with pytest.raises(FetchError, match="has the sha256"):
        untar_data(f"{address}/third.tgz", sha256="0" * 64)
    for _ in range(2):  # what is no archive is not kept, so that it is fetched again
        with pytest.raises(InputError, match=r"is no \.tgz or \.zip"):
            untar_data(f"{address}/page.html")


# The course's names

NAMES = [
    "PETS",
    "BIWI_HEAD_POSE",
    "PASCAL_2007",
    "PASCAL_2012",
    "PLANET_SAMPLE",
    "PLANET_TINY",
    "MNIST",
    "MNIST_SAMPLE",
    "MNIST_TINY",
    "MNIST_VAR_SIZE_TINY",
    "CIFAR",
    "CIFAR_100",
    "IMAGENETTE",
    "IMAGENETTE_160",
    "IMAGENETTE_320",
    "IMAGEWOOF",
    "IMAGEWOOF_160",
    "IMAGEWOOF_320",
    "IMAGEWANG",
    "IMAGEWANG_160",
    "IMAGEWANG_320",
    "FLOWERS",
    "CARS",
    "FOOD",
    "DOGS",
    "CUB_200_2011",
    "CALTECH_101",
    "COCO_SAMPLE",
    "COCO_TINY",
    "ML_SAMPLE",
    "ML_100k",
]


def test_the_course_s_sets_are_there_with_address_size_hash_and_layout():
    sets = {name: getattr(URLs, name) for name in NAMES}
    assert set(URLs.known()) == {*NAMES, "SAMPLE_PASCAL", "SAMPLE_BIWI", "SAMPLE_PETS", "SAMPLE_ML"}
    for name, one in sets.items():
        file = one.address.rsplit("/", 1)[1]
        assert one.address.startswith(("https://s3.amazonaws.com/fast-ai-", "http://files.grouplens.org/")), name
        assert file in {f"{one.folder}.tgz", f"{one.folder}.zip"}
        assert len(bytes.fromhex(one.md5_head)) == 16
        assert 10_000 < one.n_bytes < 8 << 30
        assert one.layout
        assert str(one) == one.address
    for of in ("address", "folder", "n_bytes", "md5_head"):
        assert len({getattr(one, of) for one in sets.values()}) == len(sets)
    # Larger images, larger file.
    for name in ("IMAGENETTE", "IMAGEWOOF", "IMAGEWANG"):
        assert sets[f"{name}_160"].n_bytes < sets[f"{name}_320"].n_bytes < sets[name].n_bytes


def test_other_names_are_refused_in_words():
    for name, what in (
        ("IMDB", "text, of which"),
        ("HUMAN_NUMBERS", "text, of which"),
        ("ADULT_SAMPLE", "a table of people"),
        ("CAMVID_TINY", "segmentation"),
        ("SIIM_SMALL", "DICOM"),
        ("ZEBRA_FINCH", "sound"),
        ("BIWI_SAMPLE", "URLs.BIWI_HEAD_POSE"),
    ):
        with pytest.raises(UnknownNameError, match=rf"^URLs\.{name} is .*{what}.*PASCAL_2007"):
            getattr(URLs, name)
        assert not hasattr(URLs, name)
    with pytest.raises(UnknownNameError, match=r"no data set `PET`\. Did you mean `PETS`.*IMAGENETTE_160"):
        _ = URLs.PET
    with pytest.raises(UnknownNameError, match="Did you mean `MNIST_SAMPLE`"):
        _ = URLs.MNIST_SAMPL


def test_a_data_set_is_named_once_and_without_quotes():
    with pytest.raises(UnknownNameError, match=r"write untar_data\(URLs\.SAMPLE_PETS\)"):
        untar_data("SAMPLE_PETS")
    with pytest.raises(UnknownNameError) as error:
        _ = URLs.PETZ
    assert str(error.value).count("CALTECH_101") == 1
    assert repr(URLs.SAMPLE_PETS) == "Sample(folder='sample_pets')"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://s3.amazonaws.com/fast-ai-imageclas/food-101", "FOOD"),
        ("https://s3.amazonaws.com/fast-ai-imageclas/oxford-iiit-pet.tgz", "PETS"),
        ("http://files.fast.ai/data/examples/mnist_sample", "MNIST_SAMPLE"),
        ("http://files.grouplens.org/datasets/movielens/ml-100k.zip", "ML_100k"),
    ],
)
def test_an_address_of_the_course_is_its_set(address, name, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    folder = tmp_path / "data" / getattr(URLs, name).folder
    folder.mkdir(parents=True)
    assert untar_data(address) == untar_data(getattr(URLs, name)) == folder
