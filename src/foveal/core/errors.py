"""Every error that foveal raises on purpose.

```
FovealError
├── InputError (ValueError)        what was given cannot be used as it is
│   ├── UnknownNameError           a name that is not among those known; the near match is offered
│   ├── NothingToLearnError        the training side as a whole, though each row by itself is right
│   ├── TableError                 a table's columns or rows
│   ├── ImageError               one image file: `.path`, `.reason`
│   └── ModelFileError             a bundle or a weights file
├── MissingDependencyError (ImportError)
├── FetchError (OSError)           something that should have come over the network
└── TrainingError (RuntimeError)   a run that cannot go on
    └── ProcessEndedError          another process of the run ended
```

A message says what was expected, what came and what to do, with the file, the row and the value. `assert` is for
foveal's own bugs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FovealError(Exception):
    """The root of the tree: catch this to catch all of them."""


class InputError(FovealError, ValueError):
    """What was given cannot be used as it is."""


class NothingToLearnError(InputError):
    """The training side as a whole teaches nothing, though each row by itself is right."""

    @classmethod
    def of(cls, name: str) -> NothingToLearnError:
        """Build the message for a point or a number that no row tells."""
        return cls(f"`{name}` is not known for any image of the training side.")


class UnknownNameError(InputError):
    """A name that is not among those known."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[object], hint: str = "") -> UnknownNameError:
        """Build the message for a `name` of some `kind` that is not among `known`."""
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
        path: where it lies, or a short description of what was given.
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
    """Something that should have come over the network did not."""


class TrainingError(FovealError, RuntimeError):
    """A training run that cannot go on."""


class ProcessEndedError(TrainingError):
    """Another process of the run ended while this one worked with it."""


def near_match(name: object, known: Iterable[str]) -> str:
    """Return `" Did you mean `x`?"` for the closest of `known`, or an empty text.

    >>> near_match("lables", ["fname", "labels"])
    ' Did you mean `labels`?'
    """
    options = list(known)
    folded = {option.lower(): option for option in reversed(options)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean `{folded[close[0]]}`?" if close else ""
