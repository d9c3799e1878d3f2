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
    """The base class of every error that foveal raises on purpose: catch it to catch all of them.

    The tree is drawn in the docstring of `foveal.core.errors`. Each error is also the built-in one that fits: an
    `InputError` is a `ValueError`, a `FetchError` an `OSError`.

    Examples:
        >>> from foveal import FovealError, Resize
        >>> try:
        ...     Resize(0)
        ... except FovealError as error:
        ...     print(error)
        A size is a whole number of pixels or (height, width), each at least 1; got 0.
    """


class InputError(FovealError, ValueError):
    """An argument, a table or a file that cannot be used as it is; the message says what was expected and what to do.

    Examples:
        >>> from foveal import InputError, RandomResizedCrop
        >>> try:
        ...     RandomResizedCrop(224, min_scale=35)
        ... except InputError as error:
        ...     print(error)
        `min_scale` and `max_scale` are shares of the image's area with 0 < min_scale <= max_scale <= 1; got 35 and 1.0.
    """


class NothingToLearnError(InputError):
    """A training side that as a whole teaches nothing, though each row by itself is right.

    Examples:
        >>> print(NothingToLearnError.of("left eye"))
        `left eye` is not known for any image of the training side.
    """

    @classmethod
    def of(cls, name: str) -> NothingToLearnError:
        """Return the error for a point or a number that no row has."""
        return cls(f"`{name}` is not known for any image of the training side.")


class UnknownNameError(InputError):
    """A name that is not known, of an argument, a class, a data set or an option; the message offers the nearest one.

    Examples:
        >>> from foveal import UnknownNameError, aug_transforms
        >>> try:
        ...     aug_transforms(max_rotat=30)
        ... except UnknownNameError as error:
        ...     print(error)
        `aug_transforms` has no argument `max_rotat`. Did you mean `max_rotate`? It takes mult, do_flip, flip_vert, ...
    """

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[object], hint: str = "") -> UnknownNameError:
        """Return the error for an unknown name.

        Args:
            kind: what the name names, such as "task".
            name: as the user wrote it.
            known: the names there are.
            hint: a sentence that is added.

        Examples:
            >>> print(UnknownNameError.of("resize method", "squash", ["crop", "pad", "squish"]))
            There is no resize method `squash`. Did you mean `squish`? Known: crop, pad, squish.
        """
        names = [str(k) for k in known]
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        message = f"There is no {kind} `{name}`.{near_match(name, names)}"
        if names:
            message += f" Known: {shown}."
        return cls(f"{message} {hint}".rstrip())


class TableError(InputError):
    """A table whose columns or rows cannot be used; the message names the column, the row and the value.

    Examples:
        >>> from foveal.vision.all import *
        >>> from foveal import TableError
        >>> try:
        ...     ColSplitter("is_vald")(pd.DataFrame({"fname": ["a.jpg"], "is_valid": [True]}))
        ... except TableError as error:
        ...     print(error)
        The table has no column `is_vald`. Did you mean `is_valid`? Its columns: fname, is_valid.
    """


class ImageError(InputError):
    """One image that cannot be used, such as a damaged or missing file.

    Attributes:
        path: where the image lies, or a short description of an image without a path.
        reason: the fault, without the path.

    Examples:
        >>> from foveal.vision.all import *
        >>> from foveal import ImageError
        >>> try:
        ...     PILImage.create("nowhere.jpg")
        ... except ImageError as error:
        ...     print(error.path, "has the fault:", error.reason)
        nowhere.jpg has the fault: no such file.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ModelFileError(InputError):
    """A model file, or a file of weights, that is missing, damaged or made by a newer foveal.

    Examples:
        >>> from foveal import ModelFileError, load_learner
        >>> try:
        ...     load_learner("nowhere.safetensors")
        ... except ModelFileError as error:
        ...     print(error)
        There is no model file `nowhere.safetensors`.
    """


class MissingDependencyError(FovealError, ImportError):
    """An optional package that is needed and not installed; the message holds the line that installs it.

    Examples:
        >>> from foveal import MissingDependencyError
        >>> from foveal.core.lazy import require
        >>> try:
        ...     require("a_package_that_is_missing", extra="onnx", purpose="Export")
        ... except MissingDependencyError as error:
        ...     print(error)
        Export needs the package `a_package_that_is_missing`. Install it with: pip install "foveal[onnx]"
    """


class FetchError(FovealError, OSError):
    """A file that cannot be downloaded; for a data set the message says how to put it in place by hand.

    Examples:
        >>> from foveal.vision.all import *
        >>> from foveal import FetchError
        >>> try:
        ...     download_url("ftp://example.org/cat.jpg")
        ... except FetchError as error:
        ...     print(error)
        Only http and https addresses are fetched; got ftp://example.org/cat.jpg.
    """


class TrainingError(FovealError, RuntimeError):
    """A training run that cannot continue, for instance because its loss is no longer finite.

    Examples:
        >>> from foveal.vision.all import *
        >>> from foveal import TrainingError
        >>> batches = [(torch.full((2, 1), torch.inf), torch.zeros(2, 1))]
        >>> learn = Learner(DataLoaders(batches, batches), nn.Linear(1, 1), loss_func=F.mse_loss)
        >>> try:
        ...     learn.fit(1)
        ... except TrainingError as error:
        ...     print(error)
        epoch  train_loss  valid_loss  time
        The loss is inf at step 0 of epoch 0, at a learning rate of 0.001. The batch held ...
    """


class ProcessEndedError(TrainingError):
    """Another process of the run ended while this one depended on it."""


def near_match(name: object, known: Iterable[str]) -> str:
    """Return `" Did you mean `x`?"` for the closest of `known`, or an empty text.

    Args:
        name: as the user wrote it.
        known: the names there are.

    Examples:
        >>> near_match("lables", ["fname", "labels"])
        ' Did you mean `labels`?'
    """
    options = [option for option in known if option != str(name)]
    folded = {option.lower(): option for option in reversed(options)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean `{folded[close[0]]}`?" if close else ""
