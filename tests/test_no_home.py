"""What is kept for the next time is a convenience: without a place for it all goes on, and a note says so once."""

import errno
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foveal.core import download, kept, storage
from foveal.core.errors import FetchError

MODEL = Path(__file__).parent / "golden" / "images-1.safetensors"
NOTE = "What was computed is not kept for the next time"


def run(*arguments, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("HOME", "FOVEAL_HOME", "XDG_CACHE_HOME")}
    command = [sys.executable, "-m", "foveal", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("environment", [{"HOME": "/dev/null"}, {"FOVEAL_HOME": "/proc/1/nothing"}])
def test_all_jobs_are_done_without_a_home(environment, scenes, tmp_path):
    table, images = scenes / "scenes.csv", scenes / "scenes"
    done = run("check", table, "--images", images, cwd=tmp_path, **environment)
    assert done.stderr.count(NOTE) == 1
    settings = ("--images", images, "--size", 32, "--epochs", 0, "--out", tmp_path / "run")
    done = run("train", table, *settings, cwd=tmp_path, **environment)
    assert done.stderr.count(NOTE) == 1
    assert (tmp_path / "run" / "report.html").is_file()
    done = run("predict", MODEL, next(images.glob("*.jpg")), cwd=tmp_path, **environment)
    assert done.stderr == ""


def test_a_user_whom_the_system_does_not_know_has_no_home(monkeypatch, tmp_path):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FOVEAL_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(kept, "_told", set())
    with pytest.warns(UserWarning, match="there is no home"), kept.keeping():
        (kept.cache_folder() / "below").mkdir(parents=True)


def test_a_download_that_cannot_be_written_says_so():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(FetchError, match=r"cannot be kept as `/dev/null/a/b\.part`"):
            download.download(f"http://127.0.0.1:{server.server_port}/b", Path("/dev/null/a/b"), None)
        server.shutdown()


def test_a_full_disk_is_one_message_that_names_the_file(foveal, tmp_path, monkeypatch, scenes):
    out, sync = tmp_path / "page.html", storage.sync

    def full(path):
        if tmp_path in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    monkeypatch.setattr("foveal.core.storage.sync", full)
    error = foveal("check", scenes / "scenes.csv", "--images", scenes / "scenes", "--html", out, code=2).err
    assert f"foveal: `{out}`: No space left on device." in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
