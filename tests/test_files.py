"""Files are whole or absent: what is written, what is fetched."""

import hashlib
import http.server
import threading

import pandas as pd
import pytest
import torch

from foveal.core import download, runtime, storage
from foveal.core.errors import FetchError, MissingDependencyError
from foveal.core.lazy import require
from foveal.core.tables import write_table
from foveal.core.threads import ordered_map

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/absent":
            self.send_error(404)
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/w.pth")
            self.end_headers()
            return
        self.send_response(200)
        lie = 1000 if self.path == "/short" else 0
        self.send_header("Content-Length", str(len(CONTENT) + lie))
        self.end_headers()
        self.wfile.write(CONTENT if self.path != "/wrong" else CONTENT[::-1])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_a_file_comes_whole_and_only_once(server, tmp_path):
    seen = []
    target = tmp_path / "deep" / "w.pth"
    download.download(f"{server}/good", target, download.Checksum(SHA256[:8]), advance=seen.append)
    assert target.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert download.download("http://127.0.0.1:9/never", target, download.Checksum("00")) == target
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("path", "message", "kept"),
    [
        ("/wrong", "has the sha256 .* expected", []),
        ("/short", "ended after 1,048,576 of 1,049,576|could not be fetched", ["w.pth.part"]),
        ("/absent", "could not", []),
        ("/elsewhere", "Only http and https addresses are fetched; got ftp:", []),
    ],
)
def test_what_is_not_right_never_takes_the_name(server, tmp_path, path, message, kept):
    with pytest.raises(FetchError, match=message):
        download.download(server + path, tmp_path / "w.pth", download.Checksum(SHA256))
    assert [file.name for file in tmp_path.iterdir()] == kept


def test_a_download_of_unknown_size_is_bounded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", len(CONTENT) - 1)
    with pytest.raises(FetchError, match="sends more than the 1,048,575 bytes"):
        download.download(f"{server}/good", tmp_path / "w.pth", download.Checksum(SHA256))
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_another_file_is_not_continued(server, tmp_path):
    """This server knows no ranges: the whole file comes, and the old beginning goes."""
    (tmp_path / "w.pth.part").write_bytes(b"other")
    target = download.download(f"{server}/good", tmp_path / "w.pth", download.Checksum(SHA256))
    assert target.read_bytes() == CONTENT


def test_only_web_addresses_are_fetched(tmp_path):
    with pytest.raises(FetchError, match="http and https"):
        download.download("file:///etc/hostname", tmp_path / "x", download.Checksum("00"))


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    file = tmp_path / "x.txt"
    storage.write_text(file, "old")

    def fail():
        with storage.open_replacing(file) as opened:
            opened.write("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_numbers_that_json_has_no_word_for():
    assert storage.finite({"a": [float("nan"), 1.0, (float("inf"),)]}) == {"a": [None, 1.0, [None]]}


def test_a_tensors_hash_sees_type_shape_and_value():
    same = torch.arange(6.0)
    hashes = {storage.tensor_hash(t) for t in (same, same.reshape(2, 3), same.double(), same + 1, torch.tensor(1.0))}
    assert len(hashes) == 5
    assert storage.tensor_hash(same) == storage.tensor_hash(torch.arange(12.0)[:6])


def test_an_optional_package_comes_with_its_install_line():
    with pytest.raises(MissingDependencyError, match=r'pip install "foveal\[onnx\]"'):
        require("no_such_package", extra="onnx", purpose="Exporting")


def test_memory_is_kept_and_given_back_from_any_thread():
    def work(_):
        with runtime.keeping_memory():
            return torch.zeros(1 << 20).sum()

    assert all(total == 0 for total in ordered_map(work, range(8), num_workers=4))
    assert runtime._keepers == 0


def test_a_table_without_rows_has_its_columns(tmp_path):
    for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        assert write_table(tmp_path / f"a{ending}", [], ("fname", "given")) == 0
        assert list(read(tmp_path / f"a{ending}").columns) == ["fname", "given"]
        write_table(tmp_path / f"b{ending}", [])
        assert list(read(tmp_path / f"b{ending}").columns) == ["fname"]
        write_table(tmp_path / f"c{ending}", [{"a": 1}], ("fname", "given"))
        assert list(read(tmp_path / f"c{ending}").columns) == ["a"]
    assert write_table(tmp_path / "a.jsonl", [], ("fname",)) == 0
    assert (tmp_path / "a.jsonl").read_text() == ""
