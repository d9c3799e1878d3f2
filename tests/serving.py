"""A service in a process of its own, as `foveal serve` starts it, and plain requests to it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


class Service:
    """A running service."""

    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, Path(log)

    def wait_for_words(self, words):
        """Wait until it has printed them."""
        until = time.monotonic() + 60
        while words not in self.log.read_text():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)

    def ask(self, method, path, body=None, headers=None):
        """Return (status, headers, content) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, kind="application/octet-stream"):
        """Return (status, content) where that is JSON."""
        status, _, content = self.ask(method, path, body, {"Content-Type": kind})
        return status, json.loads(content)

    def post(self, path, body):
        """Send JSON, and return (status, content)."""
        return self.json("POST", path, json.dumps(body), "application/json")

    def raw(self):
        """Return a socket to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ready(self, path="/readyz"):
        try:
            return self.ask("GET", path)[0] == 200
        except OSError:
            return False

    def end(self, sign=signal.SIGTERM):
        """Tell it to end and return its exit code."""
        os.kill(self.process.pid, sign)
        return self.process.wait(timeout=180)  # a process that is just starting is waited for: 120 s at most


def serving(model, *options):
    """Start `foveal serve` and wait until it answers."""
    return started("serve", model, *options)


def studio_of(source, *options):
    """Start `foveal studio` and wait until it answers."""
    return started("studio", source, "--no-browser", *options, ready="/state?session=none")


@contextmanager
def started(verb, *words, ready="/readyz"):
    """Start a command that serves, and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "foveal", verb, *map(str, words), "--port", str(port)]
    with tempfile.NamedTemporaryFile("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        service = Service(process, port, log.name)
        try:
            for _ in range(600):
                if service.ready(ready):
                    break
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.1)
            yield service
        finally:
            if process.poll() is None:
                service.end()
