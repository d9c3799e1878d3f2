"""`ImageClassifierCleaner`: the course's widget that shows the worst images of a class, to mark what is wrong."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from PIL import Image

from foveal.core import lazy, threads
from foveal.core.errors import ImageError
from foveal.core.listing import L, Path
from foveal.evaluation.cleaning import DELETE, KEEP, Candidate, Cleaning, CleaningDecision, Label
from foveal.evaluation.interpret import Learned
from foveal.images.any_channels import open_any
from foveal.images.channels import shown_as_rgb
from foveal.tasks.vocab import ClassLabel, names_of

_QUALITY = 85  # of the miniatures, as JPEG


class ImageClassifierCleaner:
    """A widget that shows the images of a class with the largest losses, to keep, delete or relabel each.

    In a notebook, `cleaner` as the last line of a cell shows it. Choices are kept while other classes are shown. It
    changes no file: the cells that follow do, with `cleaner.delete()`, `cleaner.change()` and `cleaner.fns`, which are
    about the images that are shown; or `cleaner.apply(...)` does, for all classes.

    Where an image has several labels, all images are shown by the loss of the class that is chosen, and the list
    beside each holds its labels: choose those that it is to have.

    Examples:
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(
        ...     ".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4, seed=1
        ... )
        >>> cleaner = ImageClassifierCleaner(Learner(dls, SimpleCNN([3, dls.c])))
        >>> cleaner.category.value, cleaner.side.value, len(cleaner.fns)
        (False, 'Train', 6)
        >>> for index in cleaner.delete(): cleaner.fns[index].unlink()
    """

    def __init__(
        self,
        learn: Learned,
        opts: Iterable[ClassLabel] = (),
        height: int = 128,
        width: int = 256,
        max_n: int = 30,
    ) -> None:
        """Answer for both sides of the split, and show the first class of the training side.

        Args:
            learn: a learner of labels.
            opts: labels that an image can be given besides the classes.
            height: the most pixels down of an image that is shown.
            width: the most pixels across.
            max_n: at most so many images are shown.

        Raises:
            InputError: the learner answers with something else than labels, or its images are not files.
            MissingDependencyError: ipywidgets is not installed.
        """
        self._widgets: Any = lazy.require("ipywidgets", extra="widgets", purpose="ImageClassifierCleaner")
        self._size_wh = width, height
        self.cleaning = Cleaning.from_learner(learn, opts, max_n)
        choices = [(str(category), category) for category in self.cleaning.categories]
        self.category = self._widgets.Dropdown(options=choices, description="class")
        self.side = self._widgets.Dropdown(options=self.cleaning.sides, description="side")
        self.images = self._widgets.Box(layout={"flex_flow": "row wrap"})
        self.widget = self._widgets.VBox([self._widgets.HBox([self.category, self.side]), self.images])
        self.category.observe(self._show, "value")
        self.side.observe(self._show, "value")
        self._show()

    @property
    def fns(self) -> L[Path]:
        """The files of the images that are shown."""
        return self.cleaning.fns

    def delete(self) -> L[int]:
        """Return the indices in `fns` of the images that are marked for deletion and are still there."""
        return self.cleaning.delete()

    def change(self) -> L[tuple[int, Label]]:
        """Return (index in `fns`, new label) of the images that are marked for another label and are still there."""
        return self.cleaning.change()

    def decisions(self) -> L[CleaningDecision]:
        """Return all decisions, of all classes and both sides, about files that are still there."""
        return self.cleaning.decisions()

    def apply(
        self, table: str | os.PathLike[str] | None = None, *, delete: bool = False, move: bool = False
    ) -> L[CleaningDecision]:
        """Do what was decided, of all classes and both sides, as far as it is told here.

        Args:
            table: a .csv, .jsonl or .parquet to write all decisions to.
            delete: whether to delete files, for good.
            move: whether to move files that are relabelled from their class' folder to that of the new label.

        Returns:
            The decisions.

        Raises:
            InputError: nothing is to be done, or files cannot be moved; then nothing was deleted or moved.
        """
        decisions = self.cleaning.apply(table, delete=delete, move=move)
        self._show()
        return decisions

    def _ipython_display_(self) -> None:
        lazy.require("IPython.display", extra="widgets", purpose="ImageClassifierCleaner").display(self.widget)

    def _show(self, _: object = None) -> None:
        self.cleaning.show(self.side.value, self.category.value)
        pixels = list(threads.ordered_map(self._miniature, self.cleaning.fns))
        shown = zip(self.cleaning.candidates, pixels, strict=True)
        boxes = [self._box(index, candidate, image) for index, (candidate, image) in enumerate(shown)]
        self.images.children = boxes or [self._widgets.Label("no image of this class")]

    def _miniature(self, file: Path) -> bytes:
        """Return an image as JPEG; an empty one if it cannot be used any more."""
        width, height = self._size_wh
        try:
            opened = open_any(file)
            scale = max(width / opened.size_hw[1], height / opened.size_hw[0])
            image = Image.fromarray(shown_as_rgb(opened.decode(scale, quick=True).pixels))
        except ImageError:
            return b""
        image.thumbnail((width, height))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()

    def _box(self, index: int, candidate: Candidate, image: bytes) -> Any:
        """Return an image with its caption and its choices."""
        w, wide = self._widgets, {"width": f"{self._size_wh[0]}px"}
        whole = wide | {"height": f"{self._size_wh[1]}px", "object_fit": "contain"}
        miniature = w.Image(value=image, format="jpeg", layout=whole)
        names = w.Label(candidate.file.name, layout=wide)
        answer = f"answer: {'; '.join(names_of(candidate.answer)) or 'nothing'}, loss {candidate.loss:.3g}"
        marked = self.cleaning.mark_of(index)
        label = candidate.label
        actions = [KEEP, DELETE]
        parts = [miniature, names, w.Label(answer, layout=wide)]
        if isinstance(label, tuple):
            choice = w.Dropdown(options=actions, value=DELETE if marked == DELETE else KEEP, layout=wide)
            several = w.SelectMultiple(
                options=[(str(one), one) for one in self.cleaning.labels],
                value=label if marked in {KEEP, DELETE} else marked,
                layout=wide,
            )

            def mark(_: object) -> None:
                self.cleaning.mark(index, DELETE if choice.value == DELETE else several.value)

            several.observe(mark, "value")
            parts.append(several)
        else:
            others = [(str(one), one) for one in self.cleaning.labels if one != label]
            choice = w.Dropdown(options=[*zip(actions, actions, strict=True), *others], value=marked, layout=wide)

            def mark(_: object) -> None:
                self.cleaning.mark(index, choice.value)

        choice.observe(mark, "value")
        return w.VBox([*parts, choice], layout={"padding": "4px", "overflow": "hidden"})
