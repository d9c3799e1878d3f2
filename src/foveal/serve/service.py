"""The settings of a service, and the state that its addresses share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from foveal.core.errors import InputError
from foveal.inference.manifest import Manifest
from foveal.inference.predictor import AnyPredictor
from foveal.inference.store import bundle_name
from foveal.serve.admission import Slot, decoded_body, read_body
from foveal.serve.engine import MAX_PIXELS, Engine
from foveal.serve.measures import Measures
from foveal.serve.watcher import Watcher


class ServeSettings(BaseModel):
    """What a service is started with.

    Attributes:
        model: the bundle.
        others: more bundles; each then answers under /models/NAME/.
        loaded_from: copies of `model` and `others` that all processes load, so that they have the same; by default they
            load the files themselves.
        host: where to listen.
        port: where to listen.
        workers: processes that answer.
        max_queue: images at work at once; measured by default.
        max_body: bytes of a request.
        max_pixels: of an image.
        body_seconds: for a whole body.
        device: where to answer.
        allow_hosts: names by which the service may be asked, besides those of this machine.
        allow_origins: pages of other sites that may ask, such as https://example.com.
        proxies: addresses of proxies whose X-Forwarded headers are believed.
        root_path: where a proxy has put the service, such as /cats.
        api_keys: one of which every request but those of the page and for health must bring.
        collect: a folder for images whose answer was wrong, with the right labels; None keeps nothing.
        collect_bytes: of all images there.
        monitor: a folder for counts of what is answered; None keeps them in memory.
        watch: whether changed files are loaded as they change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    others: tuple[Path, ...] = ()
    loaded_from: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    max_queue: int | None = None
    max_body: int = 20_000_000
    max_pixels: int = MAX_PIXELS
    body_seconds: float = 10.0
    device: str | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    root_path: str = ""
    api_keys: tuple[str, ...] = ()
    collect: Path | None = None
    collect_bytes: int = 1_000_000_000
    monitor: Path | None = None
    watch: bool = False

    @property
    def name(self) -> str:
        """What `model` is called."""
        return bundle_name(self.model)

    @property
    def models(self) -> tuple[Path, ...]:
        """All bundles."""
        return (self.model, *self.others)

    def of_each(self) -> dict[str, ServeSettings]:
        """Return the settings of each model by its name: that of its file or, where these are alike, its folder too.

        Raises:
            InputError: two models have one name.
        """
        stored = self.loaded_from or self.models
        alone = {"others": (), "loaded_from": ()}
        found: dict[str, ServeSettings] = {}
        for path, place in zip(self.models, stored, strict=True):
            one = self.model_copy(update=alone | {"model": path, "loaded_from": (place,)})
            if one.name in found:
                raise InputError(f"Two of the models are called {one.name}: give their files other names.")
            kept = self.collect / one.name if self.collect is not None and self.others else self.collect
            found[one.name] = one.model_copy(update={"collect": kept})
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """What the addresses of one process share; `sha256` is that of the bundle."""

    settings: ServeSettings
    predictor: AnyPredictor
    manifest: Manifest
    engine: Engine
    measures: Measures
    watcher: Watcher
    sha256: str

    async def body(self, request: Request, slot: Slot) -> bytes:
        """Return the body of an admitted request; see `read_body`.

        Args:
            request: whose body is read.
            slot: what the request holds.
        """
        most = self.settings.max_body
        body = await read_body(request, slot, max_bytes=most, seconds=self.settings.body_seconds)
        return decoded_body(body, request.headers.get("content-encoding", ""), most)
