"""The service among others: behind proxies, asked by browsers and programs, with several models, loaded anew."""

import gzip
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

from foveal.cli.serve import parse_root_path, read_keys
from foveal.core.errors import InputError
from foveal.core.storage import file_hash
from foveal.evaluation.figures import decide_anew
from foveal.inference.loading import load_learner
from serving import free_port, serving

GOLDEN = Path(__file__).parent / "golden"
IMAGES, RATINGS = GOLDEN / "images-1.safetensors", GOLDEN / "ratings-1.safetensors"
DOCS = Path(__file__).parents[1] / "docs"
KEY = "a key of 24 bytes, no less".replace(" ", "-")


@pytest.fixture(scope="module")
def jpeg(scenes):
    return min((scenes / "scenes").glob("*.jpg")).read_bytes()


@pytest.fixture(scope="module")
def service():
    with serving(
        IMAGES, "--max-body", "300kB", "--allow-host", "ml.example.com", "--allow-origin", "https://app.example.com"
    ) as one:
        yield one


def other_model(path, temperature=3.0):
    """A bundle that answers otherwise."""
    decide_anew(load_learner(IMAGES, device="cpu"), temperature=temperature).predictor.save(path)
    return path


# Who asks


def test_names_that_are_allowed_are_answered_to_and_no_others(service):
    for host, status in (
        ("ml.example.com", 200),
        ("ML.example.com:443", 200),
        ("localhost", 200),
        ("evil.example", 421),
    ):
        assert service.ask("GET", "/healthz", headers={"Host": host})[0] == status, host


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 200),
        ({"Origin": "https://ml.example.com"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.com.evil.example"}, 403),
    ],
)
def test_a_page_of_another_site_makes_a_browser_send_nothing(service, jpeg, headers, status):
    found, answered, _ = service.ask(
        "POST", "/predict", jpeg, {"Content-Type": "image/jpeg", "Host": "localhost"} | headers
    )
    assert found == status
    allowed = {name.lower(): value for name, value in answered.items()}.get("access-control-allow-origin")
    assert allowed == ("https://app.example.com" if headers.get("Origin") == "https://app.example.com" else None)


def test_a_browser_is_told_that_a_site_may_ask(service):
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    status, headers, _ = service.ask("OPTIONS", "/predict", headers=asked)
    assert (status, headers["access-control-allow-origin"]) == (204, "https://app.example.com")
    assert "content-type" in headers["access-control-allow-headers"]
    status, headers, _ = service.ask("OPTIONS", "/predict", headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in headers


def test_the_name_that_a_proxy_hands_on_is_believed_of_that_proxy_alone():
    names = {"X-Forwarded-Host": "ml.example.com", "Host": "backend.internal"}
    through = names | {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    for proxy, status in (("127.0.0.1", 200), ("127.0.0.0/8", 200), ("192.0.2.1", 421)):
        with serving(IMAGES, "--allow-host", "ml.example.com", "--proxy", proxy) as service:
            for headers in (names, through):
                assert service.ask("GET", "/readyz", headers=headers)[0] == status, (proxy, headers)
            forged = through | {"X-Forwarded-For": proxy, "X-Forwarded-Host": "evil.example"}
            assert service.ask("GET", "/readyz", headers=forged)[0] == 421


def test_keys_open_what_needs_one(tmp_path, jpeg):
    (tmp_path / "keys").write_text(f"# of the team\n{KEY}\n\nanother-key-of-the-team\n")
    with serving(IMAGES, "--api-key-file", tmp_path / "keys") as service:
        for path in ("/", "/app.js", "/app.css", "/healthz", "/readyz"):
            assert service.ask("GET", path)[0] == 200
        kind = {"Content-Type": "image/jpeg"}
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}):
            for method, path in (
                ("POST", "/predict"),
                ("GET", "/model"),
                ("GET", "/metrics"),
                ("GET", "/openapi.json"),
            ):
                status, headers, _ = service.ask(method, path, jpeg if method == "POST" else None, kind | given)
                assert (status, headers["www-authenticate"]) == (401, "Bearer")
        for key in (KEY, "another-key-of-the-team"):
            assert service.ask("POST", "/predict", jpeg, kind | {"Authorization": f"bearer {key}"})[0] == 200


def test_keys_that_are_none_are_refused(tmp_path):
    for text, reason in (("", "holds no key"), ("short", "at least 16"), (f"{KEY}\nwith a space in it", "key 2")):
        (tmp_path / "keys").write_text(text)
        with pytest.raises(InputError, match=reason):
            read_keys(tmp_path / "keys")
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(tmp_path / "none")
    assert parse_root_path("/cats/") == "/cats"
    with pytest.raises(InputError, match="begins with a slash"):
        parse_root_path("cats")


# Manners


def test_head_is_get_without_its_body_and_405_says_what_is_allowed(service):
    for path in ("/healthz", "/", "/model"):
        status, headers, content = service.ask("HEAD", path)
        assert (status, content) == (200, b"")
        assert headers["content-length"] == service.ask("GET", path)[1]["content-length"]
    status, headers, _ = service.ask("PUT", "/predict")
    assert (status, headers["allow"]) == (405, "POST")


def test_bodies_may_be_gzip_within_the_limits(service, jpeg):
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    status, _, packed = service.ask("POST", "/predict", gzip.compress(jpeg), headers)
    assert (status, json.loads(packed)) == service.json("POST", "/predict", jpeg, "image/jpeg")
    for body, encoding, expected in (
        (gzip.compress(bytes(40_000_000)), "gzip", 413),
        (gzip.compress(jpeg)[:-20], "gzip", 422),
        (b"no gzip", "gzip", 422),
        (jpeg, "br", 415),
    ):
        status, _, content = service.ask("POST", "/predict", body, headers | {"Content-Encoding": encoding})
        assert status == expected, content
        assert json.loads(content)["error"]


@pytest.mark.parametrize(
    ("n", "kind", "status"), [(2_000_000, "image/jpeg", 413), (7_000_000, "application/json", 415)]
)
def test_a_refusal_is_read_by_who_sends_all_first(service, n, kind, status):
    """As Python's own client does, which the page suggests; not a connection that is cut."""
    for _ in range(3):
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}/predict", b"x" * n, {"Content-Type": kind})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == status
        assert json.loads(refused.value.read())["error"]
        refused.value.close()


# Where it stands


def locations_of_the_page(port, upstream):
    """The configuration in docs/serving.md, with ports of this test."""
    text = (DOCS / "serving.md").read_text()
    (block,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    block = block.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace(
        "127.0.0.1:8000", f"127.0.0.1:{upstream}"
    )
    return "\n".join(line for line in block.splitlines() if "ssl_" not in line)


@pytest.fixture(scope="module")
def nginx():
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("no nginx here: apt-get install -y nginx-light")
    return found


@pytest.mark.parametrize("cut", [False, True])
def test_it_answers_behind_nginx_as_the_page_says(nginx, tmp_path, jpeg, cut):
    """Under a path of its own, whether the proxy passes that path on or cuts it off."""
    port = free_port()
    with serving(IMAGES, "--allow-host", "ml.example.com", "--root-path", "/cats", "--proxy", "127.0.0.1") as service:
        block = locations_of_the_page(port, service.port)
        if cut:
            block = block.replace(
                f"proxy_pass http://127.0.0.1:{service.port};", f"proxy_pass http://127.0.0.1:{service.port}/;"
            )
        logs = "".join(
            f"{name}_temp_path {tmp_path};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"{'user root;' if os.getuid() == 0 else ''} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\nevents {{}}\n"
            f"http {{ access_log off;\n{logs}{block}\n}}\n"
        )
        proxy = subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)])
        try:
            address, host = f"http://127.0.0.1:{port}", {"Host": "ml.example.com"}

            def ask(path, data=None, **headers):
                headers = {name.replace("_", "-"): value for name, value in headers.items()}
                request = urllib.request.Request(f"{address}{path}", data, host | headers)
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.read(), answer.url

            for _ in range(100):
                try:
                    ask("/cats/healthz")
                    break
                except OSError:
                    time.sleep(0.05)
            page = ask("/cats/")[1].decode()
            assert 'src="app.js"' in page
            assert ask("/cats/app.js")[0] == 200
            own = {"Origin": "https://ml.example.com", "Content_Type": "image/jpeg"}
            status, content, _ = ask("/cats/predict", jpeg, **own)
            assert status == 200
            ours = load_learner(IMAGES, device="cpu").predict(jpeg)
            found = json.loads(content)["answers"][0]
            torch.testing.assert_close(
                torch.tensor(list(found["probabilities"].values())), ours.values, atol=1e-5, rtol=0
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask("/cats/predict", jpeg, Origin="https://evil.example", Content_Type="image/jpeg")
            assert refused.value.code == 403
            refused.value.close()
            assert "/cats" in json.loads(ask("/cats/openapi.json")[1])["servers"][0]["url"]
        finally:
            proxy.terminate()
            proxy.wait()


def test_several_models_answer_in_one_process(jpeg, tmp_path):
    other = other_model(tmp_path / "colder.safetensors")
    with serving(IMAGES, other, RATINGS) as service:
        names = ["images-1", "colder", "ratings-1"]
        assert service.json("GET", "/models") == (200, {"models": names})
        page = service.ask("GET", "/")[2].decode()
        assert all(f'href="models/{name}/"' in page for name in names)
        found = []
        for name, file in zip(names[:2], (IMAGES, other), strict=True):
            status, headers, content = service.ask(
                "POST", f"/models/{name}/predict", jpeg, {"Content-Type": "image/jpeg"}
            )
            assert (status, headers["x-foveal-model"]) == (200, file_hash(file))
            assert service.json("GET", f"/models/{name}/model")[1]["sha256"] == file_hash(file)
            ours = load_learner(file, device="cpu").predict(jpeg).values
            found.append(torch.tensor(list(json.loads(content)["answers"][0]["probabilities"].values())))
            torch.testing.assert_close(found[-1], ours, atol=1e-5, rtol=0)
        assert not torch.equal(*found)
        assert (
            service.json("POST", "/models/ratings-1/predict", '{"user": 1, "item": "b"}', "application/json")[0] == 200
        )
        assert service.ask("GET", "/models/colder/")[0] == 200
        assert service.ask("GET", "/models/colder")[0] == 307
        assert service.ask("GET", "/models/none/model")[0] == 404
        assert service.ask("POST", "/predict", jpeg, {"Content-Type": "image/jpeg"})[0] == 404
        assert service.ask("GET", "/healthz")[0] == 200


def test_two_models_of_one_name_are_refused(foveal, tmp_path):
    shutil.copy(IMAGES, tmp_path / IMAGES.name)
    assert "are called images-1" in foveal("serve", IMAGES, tmp_path / IMAGES.name, code=2).err


# Loaded anew, and ended


def keep_asking(service, jpeg, seen, cut, stop):
    """Ask until told to stop; note status, model and answers of each request, and those without an answer."""
    while not stop.is_set():
        try:
            status, headers, content = service.ask("POST", "/predict", jpeg, {"Content-Type": "image/jpeg"})
        except (OSError, http.client.HTTPException) as error:
            cut.append(error)
            continue
        seen.append((status, headers.get("x-foveal-model"), json.loads(content).get("answers")))


@pytest.mark.parametrize(("workers", "how"), [(1, "signal"), (1, "watch"), (2, "signal")])
def test_a_model_is_loaded_anew_without_a_request_lost(workers, how, jpeg, tmp_path):
    file = tmp_path / "model.safetensors"
    shutil.copy(IMAGES, file)
    new = other_model(tmp_path / "new.safetensors")
    hashes = [file_hash(file), file_hash(new)]
    options = ("--workers", workers, *(["--watch"] if how == "watch" else []))
    with serving(file, *options) as service:
        seen, cut, stop = [], [], threading.Event()

        senders = [threading.Thread(target=keep_asking, args=(service, jpeg, seen, cut, stop)) for _ in range(3)]
        for one in senders:
            one.start()
        time.sleep(1)
        shutil.copy(new, tmp_path / "beside")
        (tmp_path / "beside").replace(file)
        if how == "signal":
            service.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while time.monotonic() < until and [one[1] for one in seen[-6:]] != [hashes[1]] * 6:
            time.sleep(0.2)
        stop.set()
        for one in senders:
            one.join()
        assert workers > 1 or not cut  # a process that is replaced may cut a connection opened to it in that moment
        assert {status for status, _, _ in seen} <= {200, 503}
        assert {found for status, found, _ in seen if status == 200} == set(hashes)
        predictors = [load_learner(place, device="cpu").predict(jpeg).values for place in (IMAGES, new)]
        for status, found, answers in seen:
            if status == 200:
                values = torch.tensor(list(answers[0]["probabilities"].values()))
                torch.testing.assert_close(values, predictors[hashes.index(found)], atol=1e-5, rtol=0)

        def asked():
            return service.ask("POST", "/predict", jpeg, {"Content-Type": "image/jpeg"})[1]["x-foveal-model"]

        while time.monotonic() < until and {asked() for _ in range(6)} != {hashes[1]}:
            time.sleep(1)  # of two processes the second may not have been replaced yet
        file.write_bytes(b"no bundle")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_words("not loaded anew")  # read only once the second process has been replaced
        assert {asked() for _ in range(6)} == {hashes[1]}


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_with_0_when_it_is_told_to(workers):
    with serving(IMAGES, "--workers", workers) as service:
        assert service.end() == 0


def test_workers_answer_with_one_model_whatever_becomes_of_its_file(jpeg, tmp_path):
    file = tmp_path / "model.safetensors"
    shutil.copy(IMAGES, file)
    with serving(file, "--workers", 2) as service:
        other_model(tmp_path / "new.safetensors").replace(file)
        children = subprocess.run(["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True, check=True)
        for pid in children.stdout.split():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in command:
                subprocess.run(["kill", "-9", pid], check=True)
                break
        time.sleep(1)
        until = time.monotonic() + 60
        while not service.ready() and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(5)
        found = {
            service.ask("POST", "/predict", jpeg, {"Content-Type": "image/jpeg"})[1]["x-foveal-model"]
            for _ in range(20)
        }
        assert found == {file_hash(IMAGES)}
