"""What `scripts/reliability` shows, a file a promise. Each has `run(full) -> Report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Report:
    """The outcome of one promise.

    Attributes:
        promise: in words.
        table: a header and rows, for the results page.
        broken: what did not hold; empty if all did.
    """

    promise: str
    table: list[Sequence[object]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def require(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.broken.append(what)
