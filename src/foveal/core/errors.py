"""Every error that foveal raises on purpose.

```
FovealError
├── InputError (ValueError)        an argument, a table or a file cannot be used as it is
│   ├── UnknownNameError           a name that is not among those known; the near match is offered
│   ├── NothingToLearnError        the training side as a whole, though each row by itself is right
│   ├── TableError                 a table's columns or rows
│   ├── ImageError               one image file: `.path`, `.reason`
│   └── ModelFileError             a bundle or a weights file
├── MissingDependencyError (ImportError)
├── FetchError (OSError)           a file that cannot be downloaded
└── TrainingError (RuntimeError)   a run that cannot continue
    └── ProcessEndedError          another process of the run ended
```

A message says what was expected, what there was and what to do, with the file, the row and the value. `assert` is for
foveal's own bugs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FovealError(Exception):
    """The root of the tree: catch this to catch all of them."""


class InputError(FovealError, ValueError):
    """An argument, a table or a file cannot be used as it is."""


class NothingToLearnError(InputError):
    """The training side as a whole teaches nothing, though each row by itself is right."""

    @classmethod
    def of(cls, name: str) -> NothingToLearnError:
        """Return the error for a point or a number that no row has."""
        return cls(f"`{name}` is not known for any image of the training side.")


class UnknownNameError(InputError):
    """A name that is not among those known."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[object], hint: str = "") -> UnknownNameError:
        """Return the error for an unknown name.

        Args:
            kind: what the name names, such as "task".
            name: as the user wrote it.
            known: the names there are.
            hint: a sentence that is added.
        """
        names = [str(k) for k in known]
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        message = f"There is no {kind} `{name}`.{near_match(name, names)}"
        if names:
            message += f" Known: {shown}."
        return cls(f"{message} {hint}".rstrip())


class TableError(InputError):
    """A table's columns or rows cannot be used."""


class ImageError(InputError):
    """An image that cannot be used.

    Attributes:
        path: where it lies, or a short description of an image without a path.
        reason: the fault, without the path.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ModelFileError(InputError):
    """A bundle or a weights file that cannot be used."""


class MissingDependencyError(FovealError, ImportError):
    """An optional package that is not installed."""


class FetchError(FovealError, OSError):
    """A file that cannot be downloaded."""


class TrainingError(FovealError, RuntimeError):
    """A training run that cannot continue."""


class ProcessEndedError(TrainingError):
    """Another process of the run ended while this one depended on it."""


def near_match(name: object, known: Iterable[str]) -> str:
    """Return `" Did you mean `x`?"` for the closest of `known`, or an empty text.

    Args:
        name: as the user wrote it.
        known: the names there are.

    >>> near_match("lables", ["fname", "labels"])
    ' Did you mean `labels`?'
    """
    options = [option for option in known if option != str(name)]
    folded = {option.lower(): option for option in reversed(options)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean `{folded[close[0]]}`?" if close else ""
