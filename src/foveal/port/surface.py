"""The names that foveal's star imports bring, read from the modules themselves when they are first needed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType

from foveal.course.refused import refused

VISION, COLLAB = "foveal.vision.all", "foveal.collab.all"
LIBRARIES = frozenset(
    {
        "fastai",
        "fastai2",
        "fastbook",
        "fastcore",
        "fastcore2",
        "fastdownload",
        "fastprogress",
        "fasttransform",
    }
)
"""What a notebook imports of fastai: it, its older name, and the packages that it was taken apart into."""


def star_for(module: str) -> str:
    """Return the star import that stands for a module of fastai.

    Args:
        module: its dotted name.
    """
    parts = module.split(".")
    return COLLAB if parts[1:2] in (["collab"], ["tabular"]) else VISION


@dataclass(slots=True)
class Surface:
    """Both star imports."""

    _modules: dict[str, ModuleType] = field(default_factory=dict)

    def module(self, name: str) -> ModuleType:
        """Return one of foveal's modules.

        Args:
            name: `VISION` or `COLLAB`, or another module of foveal.
        """
        if name not in self._modules:
            self._modules[name] = importlib.import_module(name)
        return self._modules[name]

    def names(self, star: str) -> list[str]:
        """Return what a star import brings."""
        names: list[str] = self.module(star).__all__
        return names

    def where(self, name: str, first: str = VISION) -> str | None:
        """Return the star import that brings a name.

        Args:
            name: what is looked for.
            first: the one that is preferred.
        """
        others = [star for star in (VISION, COLLAB) if star != first]
        return next((star for star in (first, *others) if name in self.names(star)), None)

    def get(self, name: str, star: str) -> object:
        """Return what a name of a star import means."""
        return getattr(self.module(star), name)

    def refusal(self, name: str) -> str | None:
        """Return the sentence on a name that foveal does not have; None where it is not fastai's."""
        return refused(name, [*self.names(VISION), *self.names(COLLAB)])
