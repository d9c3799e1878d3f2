"""Data sets over a network that breaks, lies and sends the wrong thing; archives that mean harm."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from foveal.core.download import Checksum, download
from foveal.core.errors import FetchError, InputError, UnknownNameError
from foveal.sources.archives import Archive, unpack
from foveal.sources.book_sets import URLs, untar_data


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
        body = {"/wrong.tgz": CONTENT[::-1], "/long.tgz": CONTENT * 2}.get(self.path, CONTENT)
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
        thread = threading.Thread(target=httpd.serve_forever)
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
        ("good.tgz", {"folder": "other"}, "no folder `other`"),
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


HOSTILE = {
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
        unpack(file, target, expect="set")
    assert list(target.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "x.archive"]


def test_a_zip_comes_out(tmp_path):
    file = tmp_path / "x.zip"
    file.write_bytes(zipped("set/a"))
    unpack(file, tmp_path, expect="set")
    assert (tmp_path / "set" / "a").read_bytes() == b"x"
