"""The service: the library's answers over HTTP, limits that hold, and a clean end."""

import contextlib
import errno
import io
import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.inference.loading import load_learner
from foveal.serve import schemas
from serving import serving

GOLDEN = Path(__file__).parent / "golden"
IMAGES, RATINGS = GOLDEN / "images-1.safetensors", GOLDEN / "ratings-1.safetensors"
HOSTILE_NAME = '<img src=x onerror=alert(1)>"; rm -rf /.jpg'


@pytest.fixture(scope="module")
def service():
    with serving(IMAGES, "--max-body", "300kB") as running:
        yield running


@pytest.fixture(scope="module")
def jpegs(scenes):
    return [file.read_bytes() for file in sorted((scenes / "scenes").glob("*.jpg"))[:6]]


def form(*files):
    """A form with files, and its Content-Type."""
    lines = b""
    for name, content in files:
        lines += (
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="' + name.replace('"', "%22").encode()
        )
        lines += b'"\r\nContent-Type: image/jpeg\r\n\r\n' + content + b"\r\n"
    return lines + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def test_http_gives_the_answers_of_the_library(service, jpegs):
    predictor = load_learner(IMAGES, device="cpu")
    ours = [predictor.predict(jpeg) for jpeg in jpegs]
    body, kind = form(*((f"{at}.jpg", jpeg) for at, jpeg in enumerate(jpegs)))
    status, together = service.json("POST", "/predict", body, kind)
    assert status == 200
    assert [answer["name"] for answer in together["answers"]] == [f"{at}.jpg" for at in range(len(jpegs))]
    for jpeg, mine, among in zip(jpegs, ours, together["answers"], strict=True):
        status, alone = service.json("POST", "/predict", jpeg, "image/jpeg")
        for answer in (alone["answers"][0], among):
            assert answer["labels"] == mine.label
            assert list(answer["probabilities"]) == list(predictor.vocab)
            found = torch.tensor(list(answer["probabilities"].values()))
            torch.testing.assert_close(found, mine.values, atol=1e-5, rtol=0)
            with Image.open(io.BytesIO(jpeg)) as image:
                assert (answer["width"], answer["height"]) == image.size


def test_what_cannot_be_answered_is_refused_with_a_reason(service, jpegs):
    for body, kind, expected, said in (
        (b"x", "text/plain", 415, "got text/plain"),
        (b"{}", "application/json", 415, "multipart/form-data"),
        (b"", "image/jpeg", 422, "no image"),
        (jpegs[0][: len(jpegs[0]) // 2], "image/jpeg", 422, "damaged JPEG"),
        (b"/etc/passwd", "image/jpeg", 422, "not an image"),
        (*form(), 422, "no image"),
        (b"--edge\r\nnonsense", "multipart/form-data; boundary=edge", 422, "damaged"),
        (form(("a.jpg", b"x"))[0][:-9], "multipart/form-data; boundary=edge", 422, "does not come to its end"),
        (b"abc", "multipart/form-data", 422, "damaged"),
        (*form(*[("a.jpg", b"x")] * 65), 413, "up to 64 images"),
    ):
        status, answer = service.json("POST", "/predict", body, kind)
        reason = answer["error"]
        assert (status, said in reason) == (expected, True), (kind, status, reason)
    status, answer = service.json(
        "POST", "/predict", *form((HOSTILE_NAME, jpegs[0]), ("../../etc/passwd", b"root:x:0"))
    )
    assert status == 200
    good, bad = answer["answers"]
    assert (good["name"], good["labels"]) == (
        HOSTILE_NAME.replace('"', "%22"),
        load_learner(IMAGES).predict(jpegs[0]).label,
    )
    assert (bad["name"], "image" in bad["error"]) == ("../../etc/passwd", True)
    assert service.json("GET", "/nothing")[0] == 404
    assert service.json("GET", "/../../etc/passwd")[0] == 404
    assert service.json("GET", "/predict")[0] == 405


def test_a_body_that_is_too_large_is_refused_before_it_is_read(service):
    for headers in (b"Content-Length: 90000000000\r\n", b"Transfer-Encoding: chunked\r\n"):
        with service.raw() as sender:
            sender.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n" + headers + b"\r\n"
            )
            sent, answer = 0, b""
            sender.settimeout(0.05)
            while not answer and sent < 50_000_000:
                try:
                    sender.sendall(b"10000\r\n" + bytes(65536) + b"\r\n" if b"chunked" in headers else bytes(65536))
                    sent += 65536
                except (TimeoutError, ConnectionError):
                    pass
                try:
                    answer = sender.recv(4096)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        assert b" 413 " in answer.split(b"\r\n")[0]
        assert sent < 6_000_000  # what the buffers of the system take


def test_slow_senders_hold_no_place_and_are_sent_away(jpegs):
    with serving(IMAGES, "--max-queue", 1) as service:
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 5000\r\n\r\n"
        slow = [service.raw() for _ in range(5)]
        began = time.monotonic()
        for sender in slow:
            sender.sendall(head + b"\xff\xd8")
            time.sleep(0.3)
        status, answer = service.json("POST", "/predict", jpegs[0])
        assert (status, len(answer["answers"])) == (200, 1)
        for sender in slow:
            assert b" 408 " in sender.recv(4096).split(b"\r\n")[0]
            sender.close()
        assert 9 < time.monotonic() - began < 25
        assert service.json("POST", "/predict", jpegs[0])[0] == 200


def test_more_than_there_are_places_for_are_told_to_come_again(jpegs):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (3000, 3000, 3), dtype=np.uint8)).save(file, "PNG", compress_level=1)
    with serving(IMAGES, "--max-queue", 2, "--max-body", "60MB") as service:
        found = []

        def ask():
            status, headers, _ = service.ask("POST", "/predict", file.getvalue(), {"Content-Type": "image/png"})
            found.append((status, headers.get("retry-after")))

        askers = [threading.Thread(target=ask) for _ in range(12)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert {status for status, _ in found} == {200, 503}
        assert all((status == 503) == (after is not None and int(after) >= 1) for status, after in found)
        assert service.json("POST", "/predict", jpegs[0])[0] == 200
        text = service.ask("GET", "/metrics")[2].decode()
        n = sum(status == 503 for status, _ in found)
        assert f'foveal_requests_total{{path="full",status="503"}} {float(n)}' in text
        assert "foveal_places_taken 0.0" in text


def test_every_answer_carries_the_headers_that_keep_a_page_safe(service):
    for path in ("/", "/app.js", "/app.css", "/model", "/healthz", "/openapi.json", "/nothing"):
        status, headers, content = service.ask("GET", path)
        assert status == (404 if path == "/nothing" else 200)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in content
    status, _, content = service.ask("GET", "/model", headers={"Host": "evil.example"})
    assert (status, b"localhost" in content) == (421, True)
    schema = json.loads(service.ask("GET", "/openapi.json")[2])
    assert {"/predict", "/explain", "/model", "/healthz", "/readyz", "/metrics"} <= set(schema["paths"])


def test_openapi_describes_the_answers(service, jpegs):
    schema = json.loads(service.ask("GET", "/openapi.json")[2])
    answers = schema["paths"]["/predict"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Answers"}
    assert {"408", "413", "415", "421", "422", "503"} <= answers.keys()
    explained = schema["paths"]["/explain"]["post"]["responses"]
    assert explained["200"]["content"].keys() == {"image/png"}
    assert "HTTPValidationError" not in schema["components"]["schemas"]

    body, kind = form(("a.jpg", jpegs[0]), ("bad.jpg", b"no image"))
    status, some = service.json("POST", "/predict", body, kind)
    first, second = schemas.Answers.model_validate(some, strict=True).answers
    assert (status, type(first), type(second)) == (200, schemas.ImageAnswer, schemas.RefusedImage)
    assert first.model_extra == {}
    assert first.model_dump(exclude_none=True) == some["answers"][0]
    status, none = service.json("POST", "/predict", b"no image")
    assert status == 422
    assert schemas.AllRefused.model_validate(none, strict=True).answers[0].name == "image"
    status, refused = service.json("POST", "/predict", b"text", "text/plain")
    assert (status, schemas.Refusal.model_validate(refused, strict=True).error[:13]) == (415, "Send an image")


def test_what_the_model_looked_at_is_a_image(service, jpegs):
    status, headers, content = service.ask("POST", "/explain?label=bee", jpegs[0], {"Content-Type": "image/jpeg"})
    assert (status, headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (32, 32)
        ours = load_learner(IMAGES, device="cpu").explain(jpegs[0], "bee")
        assert (image.mode, image.tobytes()) == (ours.mode, ours.tobytes())
    status, answer = service.json("POST", "/explain?label=be", jpegs[0])
    assert (status, "Did you mean `bee`" in answer["error"]) == (422, True)


def test_ratings_are_asked_in_json():
    predictor = load_learner(RATINGS)
    with serving(RATINGS) as service:
        kind = "application/json"
        status, said = service.json("POST", "/predict", json.dumps({"user": 2, "title": "c"}), kind)
        assert status == 200
        (answer,) = said["answers"]
        assert answer["stars"] == pytest.approx(predictor.predict(2, "c").label, abs=1e-5)
        assert (answer["user"], answer["unknown"]) == (2, [])
        assert service.json("POST", "/predict", '{"user": "2", "item": "c"}', kind)[1] == said
        assert service.json("POST", "/predict", '{"user": 99, "title": "c"}', kind)[1]["answers"][0]["unknown"] == [
            "user"
        ]
        status, found = service.json("POST", "/recommend", '{"user": 1, "k": 2}', kind)
        assert [one["title"] for one in found["recommended"]] == [one.item for one in predictor.recommend(1, 2)]
        for path, body, expected in (
            ("/predict", '{"user": 2}', "`title` must be given"),
            ("/predict", '{"user": [2], "title": "c"}', "`user` must be given"),
            ("/predict", "[]", "JSON object"),
            ("/predict", '{"user": ', "JSON object"),
            ("/recommend", '{"user": 1, "k": "many"}', "`k` must be a whole number from 1 to 1,000; got 'many'"),
        ):
            status, answer = service.json("POST", path, body, kind)
            assert (status, expected in answer["error"]) == (422, True), answer
        assert service.json("POST", "/predict", "{}", "text/plain")[0] == 415


@pytest.mark.parametrize("workers", [1, 2])
def test_who_is_being_answered_is_answered_before_the_end(workers, jpegs):
    with serving(IMAGES, "--workers", workers) as service:
        sender = service.raw()
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        sender.sendall(head % len(jpegs[0]) + jpegs[0][:-10])
        time.sleep(0.2)
        ended = threading.Thread(target=service.end)
        ended.start()
        time.sleep(0.3)
        sender.sendall(jpegs[0][-10:])
        assert b" 200 " in sender.recv(65536).split(b"\r\n")[0]
        sender.close()
        ended.join()
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", service.port)) == errno.ECONNREFUSED


def test_a_port_that_is_taken_or_a_file_that_is_no_bundle_is_said(service, foveal, tmp_path):
    assert "Choose another --port" in foveal("serve", IMAGES, "--port", service.port, code=2).err
    (tmp_path / "m.safetensors").write_bytes(b"x")
    assert "no safetensors file" in foveal("serve", tmp_path / "m.safetensors", code=2).err
    assert "20MB or 512kB" in foveal("serve", IMAGES, "--max-body", "big", code=2).err


def test_ratings_wait_for_places_too():
    with serving(RATINGS, "--max-queue", 1) as service:
        with service.raw() as slow:  # has sent its head and part of its body: it holds the only place for a moment
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
            )
            found = {service.json("POST", "/recommend", '{"user": 1}', "application/json")[0] for _ in range(20)}
        assert found <= {200, 503}
        status, until = 503, time.monotonic() + 10
        while status == 503 and time.monotonic() < until:  # the place is free once it is seen that the sender has gone
            status = service.json("POST", "/recommend", '{"user": 1, "k": 0}', "application/json")[0]
        assert status == 422


def test_a_service_that_cannot_start_ends_with_one_message(tmp_path, foveal):
    for workers in (1, 2):
        said = foveal("serve", IMAGES, "--workers", workers, "--device", "tpu", code=2)
        assert "no device `tpu`" in said.err
        assert "Serving" not in said.out


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-A: b\r\n" * 8192),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", b"a" * 65536),
        (b"GET /", b"a" * 65536),
    ],
    ids=["many headers", "one header", "path"],
)
def test_a_head_without_an_end_is_refused(service, start, more):
    with service.raw() as sender:
        sender.sendall(start)
        for _ in range(3):
            sender.sendall(more)
        assert sender.recv(1000).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")
        sender.settimeout(5)
        with contextlib.suppress(ConnectionError):
            while sender.recv(1000):
                pass


def test_a_large_head_is_taken_and_one_that_does_not_come_is_sent_away(service):
    assert service.ask("GET", "/healthz", None, {"X-A": "a" * 50_000})[0] == 200
    for start in (b"", b"GET /healthz HT"):
        began = time.monotonic()
        with service.raw() as sender:
            sender.sendall(start)
            received = b""
            while part := sender.recv(1000):
                received += part
        assert b"HTTP/1.1 408 Request Timeout" in received
        assert 8 < time.monotonic() - began < 15


def test_who_ends_sending_after_a_whole_request_is_answered(service, jpegs):
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpegs[0])}\r\n\r\n"
    with service.raw() as sender:
        sender.sendall(head.encode() + jpegs[0])
        sender.shutdown(socket.SHUT_WR)
        received = b""
        while part := sender.recv(10_000):
            received += part
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b'"answers"' in received
