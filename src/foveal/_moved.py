"""Modules and names as version 0.1 called them: they work for one more version, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "errors": "core.errors",
    "rng": "core.rng",
    "storage": "core.storage",
    "lazy": "core.lazy",
    "threads": "core.threads",
    "tables": "core.tables",
    "progress": "core.progress",
    "runtime": "core.runtime",
    "timing": "core.timing",
    "processors": "core.processors",
    "listing": "core.listing",
    "processes": "core.distributed",
    "fetch": "core.download",
    "archives": "sources.archives",
    "canvas": "images.canvas",
    "page": "reporting.page",
    "image": "images",
    "image.picture": "images.pil",
    "image.pixels": "images.tones",
    "image.rows": "images.parquet_rows",
    "geometry.fit": "geometry.resize",
    "callbacks": "training.callbacks",
    "probes": "training.probes",
    "bundle": "inference",
    "bundle.card": "reporting.card",
    "bundle.ratings": "collab.predictor",
    "results": "evaluation",
    "results.doubts": "evaluation.label_issues",
    "results.journal": "scale.resume_log",
    "results.report": "reporting.report",
    "results.audit_page": "reporting.audit_page",
    "results.left_out": "core.left_out",
    "results.ratings": "collab.report",
    "engines": "scale",
    "engines.answered": "scale.streaming",
    "splits": "data.splits",
    "vision.learner": "learner.vision",
    "data.feeds": "data.batchers",
    "data.operations": "data.pixel_ops",
    "data.printed": "data.display",
    "sources.scenes": "sources.synthetic",
    "sources.samples": "sources.book_sets",
    "tasks.rating": "collab.task",
    "models.embedding": "collab.model",
    "serve.ratings": "collab.service",
    "serve.pictures": "serve.images",
    "metrics.ranking": "collab.ranking",
    "models.folding": "models.fusing",
    "tasks.catalog": "tasks.kinds",
    "cli.settings": "runs.settings",
    "cli.recommend": "collab.verb",
    "cli.folder": "runs.folder",
    "cli.training": "runs.images",
    "cli.repeats": "runs.folds",
    "cli.checking": "runs.checking",
    "cli.printed": "runs.console",
    "cli.ratings": "collab.run",
}

NAMES = {
    "PictureError": "ImageError",
    "OpenedPicture": "OpenedImage",
    "PictureSource": "ImageSource",
    "ParquetPictures": "ParquetImages",
    "open_picture": "open_image",
    "load_pictures": "load_image_predictor",
    "pictures_in": "images_in",
    "Fit": "ResizeStep",
    "opened_table": "open_table",
}


TASK_MEMBERS = {
    "missing_target": "unknown",
    "report_metrics": "figures",
    "metrics_by_output": "parts",
    "comparable": "judged",
    "per_sample_error": "wrongness",
    "decode_target": "label_of",
}
"""Members of a task, and what version 0.1 called them: a task of another package that has the old ones is refused."""

HOMES = {
    "SEEDS": "core.seeds",
    "check_seed": "core.seeds",
    "Seen": "collab.task:ImplicitFeedback",
    "Doubt": "evaluation.label_issues:LabelIssue",
    "Journal": "scale.resume_log:ResumeLog",
    "Tuned": "evaluation.thresholds:ThresholdFit",
    "tuned": "evaluation.thresholds:tune_thresholds",
    "tuned_best": "evaluation.thresholds:tune_best_thresholds",
    "TableColumns": "sources.formats",
    "parse_bytes": "runs.parsing",
    "parse_names": "runs.parsing",
    "parse_pairs": "runs.parsing",
    "parse_size": "runs.parsing",
    "parse_time": "runs.parsing:parse_minutes",
    "CategoryBlock": "tasks.single_label",
    "MultiCategoryBlock": "tasks.multi_label",
    "PointBlock": "tasks.points",
    "RegressionBlock": "tasks.regression",
    "TensorCategory": "tasks.single_label",
    "TensorMultiCategory": "tasks.multi_label",
    "TensorPoint": "tasks.points",
    "TensorRegression": "tasks.regression",
    "write_ratings": "collab.drawn",
    "URLs": "sources.book_sets",
    "untar_data": "sources.book_sets",
}
"""Names that went to another module than the one they stood in: "module" or "module:new name"."""


class _Moved(ModuleType):
    """Stands for a module under its old name."""

    def __init__(self, name: str, new: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # modules that were below it are looked for by the finder
        self._new = new

    def __getattr__(self, name: str) -> Any:
        module = importlib.import_module(self._new)
        if name == "__all__":
            return getattr(module, name, [public for public in vars(module) if not public.startswith("_")])
        if name.startswith("__"):
            raise AttributeError(name)
        if name in HOMES and name not in vars(module):
            home, _, new = HOMES[name].partition(":")
            return getattr(importlib.import_module(f"foveal.{home}"), new or name)
        return getattr(module, NAMES.get(name, name))

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self._new))


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "foveal.train":  # no module can have the name of a function of the package
            raise ModuleNotFoundError(
                "`foveal.train` is a function now; what its modules held is in `foveal.training`."
            )
        new = _new_name(fullname)
        return None if new is None else ModuleSpec(fullname, self, origin=new, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = str(spec.origin)
        warnings.warn(
            f"`{spec.name}` is now `{new}`; the old name goes with the next version.", DeprecationWarning, stacklevel=2
        )
        return _Moved(spec.name, new)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _new_name(name: str) -> str | None:
    """Return where a module went, or None where it is none of ours that moved."""
    package, _, rest = name.partition(".")
    if package != "foveal":
        return None
    for old in sorted(MODULES, key=len, reverse=True):
        if rest == old or rest.startswith(f"{old}."):
            return f"foveal.{MODULES[old]}{rest.removeprefix(old)}"
    return None


def renamed(name: str) -> str:
    """Return what a name of the package is called now, with a warning where it has another one.

    Args:
        name: as the user wrote it.
    """
    if (new := NAMES.get(name)) is not None:
        warnings.warn(
            f"`foveal.{name}` is now `foveal.{new}`; the old name goes with the next version.",
            DeprecationWarning,
            stacklevel=3,
        )
    return new or name


def attribute(old: str, new: str) -> property:
    """Return a property that gives an attribute under its old name, with a warning.

    Args:
        old: what it was called.
        new: what it is called.
    """

    def read(value: object) -> Any:
        _warn(old, new)
        return getattr(value, new)

    return property(read)


def method(old: str, new: str) -> Callable[..., Any]:
    """Return a method that calls another one under its old name, with a warning.

    Args:
        old: what it was called.
        new: what it is called.
    """

    def call(value: object, *args: Any, **options: Any) -> Any:
        """Return what a method returns, called under its old name, with a warning.

        Args:
            value: what has the method.
            args: its arguments.
            options: its keyword arguments.
        """
        _warn(old, new)
        return getattr(value, new)(*args, **options)

    return call


def _warn(old: str, new: str) -> None:
    text = f"`{old}` is now `{new}`; the old name goes with the next version."
    warnings.warn(text, DeprecationWarning, stacklevel=4)


def from_home(module: str, name: str) -> Any:
    """Return a name that stood in a module which itself did not move, with a warning.

    Args:
        module: the module's name.
        name: what is looked up in it.

    Raises:
        AttributeError: it never had the name.
    """
    if name not in HOMES:
        raise AttributeError(f"module `{module}` has no attribute `{name}`")
    home, _, new = HOMES[name].partition(":")
    _warn(f"{module}.{name}", f"foveal.{home}.{new or name}")
    return getattr(importlib.import_module(f"foveal.{home}"), new or name)


def install() -> None:
    """Find modules under their old names; asked last, so that nothing else is slowed down."""
    sys.meta_path.append(_Finder())
