"""ipywidgets as fastbook brings it: `widgets`, and `VBox`; imported when first used."""

from __future__ import annotations

from typing import Any

from foveal.core.lazy import require


class _Widgets:
    """The module `ipywidgets`, imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(require("ipywidgets", extra="widgets", purpose="A widget"), name)


widgets = _Widgets()


def VBox(children: Any = (), **options: Any) -> Any:
    """Return widgets one below the other.

    Args:
        children: the widgets.
        options: of `ipywidgets.VBox`.
    """
    return widgets.VBox(children, **options)
