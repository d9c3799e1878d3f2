"""Frames of videos and cameras: the right ones, at the right time, under names that say no password."""

import http.server
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from foveal.core.errors import InputError
from foveal.images.decode import NamedPixels, decode, open_image
from foveal.images.files import Unreadable
from foveal.images.video import Video, is_video, parse_interval
from serving import free_port

MODEL = Path(__file__).parent / "golden" / "images-1.safetensors"
SHAPE = (64, 96)


def numbered(at):
    """A frame that shows its own number: red is 12 times it, the left half blue."""
    frame = np.zeros((*SHAPE, 3), np.uint8)
    frame[..., 0] = 12 * (at % 20)
    frame[:, :48, 2] = 200
    return frame


def written(path, n=20, rate=10, coding="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*coding), rate, SHAPE[::-1])
    for at in range(n):
        writer.write(cv2.cvtColor(numbered(at), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def number_of(frame):
    return round(float(frame.pixels[..., 0].mean()) / 12)


@pytest.mark.parametrize(("name", "coding"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v"), ("a ü#%.MKV", "MJPG")])
@pytest.mark.parametrize(("every", "expected"), [(0.5, [0, 5, 10, 15]), (0.1, range(20)), (0.04, range(20)), (9, [0])])
def test_one_frame_is_given_for_each_interval(tmp_path, name, coding, every, expected):
    path = written(tmp_path / name.lower(), coding=coding)
    path = path.rename(tmp_path / name)
    frames = list(Video(str(path), every).frames())
    assert [number_of(frame) for frame in frames] == list(expected)
    times = [float(frame.name.removeprefix(f"{path}#t=")) for frame in frames]
    assert times == pytest.approx([at / 10 for at in expected], abs=2e-3)
    left, right = frames[0].pixels[:, 8:40].mean(axis=(0, 1)), frames[0].pixels[:, 56:].mean(axis=(0, 1))
    assert left[2] > 150  # blue, so red and blue are where they belong
    assert right[2] < 50
    assert frames[0].pixels.shape == (*SHAPE, 3)


def test_a_frame_is_an_image_of_any_number_of_channels():
    pixels = numbered(10)
    frame = NamedPixels("clip.mp4#t=1", pixels)
    assert np.array_equal(decode(frame), pixels)
    assert decode(frame, 1).shape == (*SHAPE, 1)
    assert open_image(frame).name == "clip.mp4#t=1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no video that can be read"),
        (b"text", "no video that can be read"),
        (b"#EXTM3U\n#EXTINF:6,\nhttp://127.0.0.1:9/a.mp4\n", "no video that can be read"),
        (b"ffconcat version 1.0\nfile http://127.0.0.1:9/a.mp4\n", "no video that can be read"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, content, reason):
    (tmp_path / "a.mp4").write_bytes(content)
    (refused,) = Video(str(tmp_path / "a.mp4"), 1).frames()
    assert isinstance(refused, Unreadable)
    assert reason in refused.error.reason


def test_what_is_wrong_is_told_once(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"text")
    command = [sys.executable, "-m", "foveal", "predict", MODEL, tmp_path / "a.mp4", "--every", "1s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == f"refused: {tmp_path / 'a.mp4'}: it is no video that can be read, or is damaged.\n"


def test_a_file_fetches_nothing_from_elsewhere(tmp_path):
    """A list of other files, under the ending that FFmpeg knows it by, may name addresses."""
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        listed = tmp_path / "list.m3u8"
        listed.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{address}\n#EXT-X-ENDLIST\n")
        assert all(isinstance(one, Unreadable) for one in Video(str(listed), 1).frames())
        server.shutdown()
    assert asked == []


def test_a_cut_file_gives_what_it_has_and_says_so(tmp_path):
    whole = written(tmp_path / "whole.avi", n=40).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    *frames, refused = Video(str(tmp_path / "cut.avi"), 0.1).frames()
    assert 10 <= len(frames) < 30
    assert "it was cut" in refused.error.reason


def test_pipes_devices_and_absent_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, reason in ((tmp_path / "pipe.mp4", "no file"), ("/dev/zero", "no file"), (tmp_path / "x.mp4", "No such")):
        (refused,) = Video(str(path), 1).frames()
        assert reason in refused.error.reason


def test_frames_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_MAX_PIXELS", "6000")
    (refused,) = Video(str(written(tmp_path / "a.avi")), 1).frames()
    assert "6,144 pixels, more than 6,000" in refused.error.reason


def test_what_is_a_video_can_be_seen_from_its_address():
    yes = ("a.mp4", "b/c.MOV", "rtsp://me:pw@host/1", "RTMP://x/y", "camera:0")
    no = ("a.jpg", "a.gif", "https://host/a.jpg", "camera:x", "camera", "s3://bucket/images", "mp4")
    assert [address for address in (*yes, *no) if is_video(address)] == list(yes)


@pytest.mark.parametrize("text", ["", "0", "-1s", "1 day", "nan", "s", "1e400", "0ms", "inf"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="--every is a time above 0"):
        parse_interval(text)


def test_the_command_answers_for_frames_and_goes_on_where_it_was(tmp_path, foveal, monkeypatch, scenes):
    clip, out = written(tmp_path / "clip.avi"), tmp_path / "out.csv"
    image = next((scenes / "scenes").glob("*.jpg"))
    foveal("predict", MODEL, image, clip, "--every", "500ms", "--out", out)
    whole = out.read_text()
    names = [line.split(",")[0] for line in whole.splitlines()[1:]]
    assert names == [str(image), *(f"{clip}#t={at}" for at in ("0", "0.5", "1", "1.5"))]
    taken = Video.frames

    def stopped(self):
        yield from itertools.islice(taken(self), 2)
        raise KeyboardInterrupt

    out.unlink()
    monkeypatch.setattr(Video, "frames", stopped)
    foveal("predict", MODEL, image, clip, "--every", "500ms", "--out", out, "--batch-size", 1, code=130)
    monkeypatch.undo()
    foveal("predict", MODEL, image, clip, "--every", "500ms", "--out", out, "--resume")
    assert [line.split(",")[:2] for line in out.read_text().splitlines()] == [
        line.split(",")[:2] for line in whole.splitlines()
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip.avi"], "is a video: say which frames are meant, with --every 1s"),
        (["a.jpg", "--every", "1s"], "--every 1s is for videos and cameras"),
        (["clip.avi", "--every", "1s", "--out", "answers"], "gives frames, not files"),
        (["clip.avi", "--every", "1s", "--out", "a.json"], "gives frames, not files"),
        (["camera:7", "--every", "1s", "--out", "a.csv", "--resume"], "cannot go back to what a camera showed"),
    ],
)
def test_what_cannot_be_done_with_videos_is_said(tmp_path, foveal, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "clip.avi")
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert message in foveal("predict", MODEL, *arguments, code=2).err


def test_a_folder_gives_its_videos_where_a_time_says_so(tmp_path, foveal):
    (tmp_path / "in" / "below").mkdir(parents=True)
    written(tmp_path / "in" / "below" / "clip.avi")
    assert "There is no image" in foveal("predict", MODEL, tmp_path / "in", code=2).err
    assert len(foveal("predict", MODEL, tmp_path / "in", "--every", "1s").out.splitlines()) == 2


def test_a_camera_that_is_not_there_is_named(foveal):
    assert "camera:97: it cannot be reached" in foveal("predict", MODEL, "camera:97", "--every", "1s", code=1).err
    address = f"http://me:secret@127.0.0.1:{free_port()}/live.mjpg"
    printed = foveal("predict", MODEL, address, "--every", "1s", code=1)
    assert "it cannot be reached" in printed.err
    assert "secret" not in printed.err + printed.out


class Camera(http.server.BaseHTTPRequestHandler):
    """Sends JPEGs one after the other, and hangs up after each `LENGTH`."""

    LENGTH = 25
    seen: ClassVar = []

    def do_GET(self):
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for at in range(self.LENGTH):
                jpeg = cv2.imencode(".jpg", cv2.cvtColor(numbered(at % 20), cv2.COLOR_RGB2BGR))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(0.04)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def camera():
    Camera.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/live.mjpg"
        server.shutdown()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_is_watched_until_told_to_stop_also_when_it_was_lost(sign, camera, tmp_path):
    out = tmp_path / "out.csv"
    command = [sys.executable, "-m", "foveal", "predict", MODEL, f"http://me:secret@{camera}", "--every", "0.3"]
    process = subprocess.Popen([*command, "--out", out], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "out.csv.partial"
    until = time.monotonic() + 60
    while time.monotonic() < until and (not log.is_file() or len(log.read_text().splitlines()) < 9):
        time.sleep(0.1)
    process.send_signal(sign)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    names = [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    assert len(names) >= 8
    assert all(name.startswith(f"http://{camera}#20") and name.endswith("Z") for name in names)
    assert names == sorted(names)
    assert "trying again" in errors  # it hangs up once a second
    assert len(Camera.seen) > 1
    assert "secret" not in printed + errors + out.read_text()


def test_the_options_of_others_are_left_alone(tmp_path, monkeypatch):
    path = written(tmp_path / "a.avi")
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    list(Video(str(path), 1).frames())
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;tcp"
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    list(Video(str(path), 1).frames())
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_the_size_of_shards_need_not_be_given_again(scenes, tmp_path, foveal, monkeypatch):
    out = tmp_path / "answers"
    foveal("predict", MODEL, scenes / "scenes", "--out", out, "--shard-size", 7)
    plan = json.loads((out / "_plan.json").read_text())
    assert plan["size"] == 7
    before = sorted(file.name for file in out.iterdir())
    (out / "part-000002.parquet").unlink()
    (out / "_finished" / "000002.json").unlink()
    for more in ([], ["--shard-size", 3]):
        foveal("predict", MODEL, scenes / "scenes", "--out", out, "--resume", *more)
        assert sorted(file.name for file in out.iterdir()) == before
    (out / "_plan.json").write_text("{")
    assert "is damaged" in foveal("predict", MODEL, scenes / "scenes", "--out", out, "--resume", code=2).err
    del plan["size"]  # as version 0.1 wrote it
    (out / "_plan.json").write_text(json.dumps(plan))
    foveal("predict", MODEL, scenes / "scenes", "--out", out, "--resume", "--shard-size", 7)
