"""The settings of a service, and the state that its addresses share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from foveal.inference.manifest import Manifest
from foveal.inference.predictor import AnyPredictor
from foveal.serve.admission import Slot, read_body
from foveal.serve.engine import Engine
from foveal.serve.measures import Measures


class ServeSettings(BaseModel):
    """What a service is started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    max_queue: int | None = None
    max_body: int = 20_000_000
    body_seconds: float = 10.0
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """What the addresses of one process share."""

    settings: ServeSettings
    predictor: AnyPredictor
    manifest: Manifest
    engine: Engine
    measures: Measures

    async def body(self, request: Request, slot: Slot) -> bytes:
        """Return the body of an admitted request; see `read_body`.

        Args:
            request: whose body is read.
            slot: what the request holds.
        """
        return await read_body(request, slot, max_bytes=self.settings.max_body, seconds=self.settings.body_seconds)
