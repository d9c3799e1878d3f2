"""ipywidgets as fastbook brings it: `widgets`, and `VBox`; imported when first used."""

from __future__ import annotations

from typing import Any

from foveal.core.lazy import require


class _Widgets:
    """The module `ipywidgets`, imported when one of its names is first used.

    Raises:
        MissingDependencyError: ipywidgets is not installed.

    Examples:
        >>> from foveal.vision.all import *
        >>> widgets.Button(description="Classify").description
        'Classify'
    """

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

    Raises:
        MissingDependencyError: ipywidgets is not installed.

    Examples:
        >>> from foveal.vision.all import *
        >>> box = VBox([widgets.Label("Select your bear!"), widgets.Button(description="Classify")])
        >>> len(box.children)
        2
    """
    return widgets.VBox(children, **options)
