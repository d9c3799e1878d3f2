"""A run that has ended, read from its folder: metrics, predictions, model, report, label issues, comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd

from foveal.core.errors import InputError
from foveal.core.spelling import errors_spelled
from foveal.core.tables import restored
from foveal.evaluation.compare import Comparison, compare
from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.label_issues import LabelIssue
from foveal.inference.loading import load_predictor
from foveal.inference.predictor import Predictor
from foveal.metrics.bootstrap import Interval
from foveal.reporting import page
from foveal.runs import folder as files
from foveal.runs.parsing import parse_names
from foveal.runs.settings import RunSettings, arguments_of_python
from foveal.training.callbacks.logs import read_history

if TYPE_CHECKING:
    import os

    from foveal.evaluation.choosing import By
    from foveal.images.decode import ImageSource
    from foveal.runs.suggest import Suggestion


class Run:
    """A run's folder, as `foveal.train` and `foveal train` fill it, opened to be looked at.

    Attributes:
        folder: where it lies.
        settings: what decided it.

    Examples:
        >>> import tempfile
        >>> import foveal
        >>> from foveal.vision.all import *
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[:60:4]  # eight boats and seven houses
        >>> table = pd.DataFrame({"image": [f.name for f in files], "label": [f.name.split("_")[0] for f in files]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table.to_csv(f"{folder}/few.csv", index=False)
        ...     options = dict(images=files[0].parent, size=32, arch="tf_efficientnet_lite0", epochs=0, batch_size=4)
        ...     trained = foveal.train(f"{folder}/few.csv", out=f"{folder}/run", **options)
        ...     run = foveal.Run(f"{folder}/run")
        ...     print(list(run.metrics)[0], len(run.predictions), len(run.history), run.predictor().vocab)
        ...     print(list(run.metrics_by_output.index), run.interpretation().confusion_matrix().sum())
        read as: table (few.csv), single-label; 15 images; no split given
        ...
        accuracy 3 1 (#2) ['Boat','House']
        ['Boat', 'House'] tensor(3)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a run.

        Args:
            folder: of a run that has ended, or of several runs with other seeds or folds.

        Raises:
            InputError: the folder is not that of a run, or the run has not ended.

        Examples:
            >>> import foveal
            >>> foveal.Run("photos")
            Traceback (most recent call last):
            ...
            foveal.core.errors.InputError: `photos` is not the folder of a run: it holds no run.toml.
        """
        self.folder = Path(folder)
        self.settings: RunSettings = files.settings_of(self.folder)
        self._summary = files.summary_of(self.folder)

    @property
    def _names(self) -> list[str]:
        """The names of the runs that this one consists of."""
        return list(self._summary.get("runs", ()))

    @property
    def metrics(self) -> dict[str, Interval]:
        """The headline metrics on the validation side by name, with their 95% intervals; NaN where not defined.

        Of several runs with other seeds, which share no predictions, the dictionary is empty: see `runs`.
        """
        intervals = self._summary.get("intervals", {})
        values = self._summary.get("metrics", {})
        nan = float("nan")
        return {
            name: Interval(value, *intervals.get(name, (nan, nan)))
            for name, value in values.items()
            if not isinstance(value, dict)
        }

    @property
    def metrics_by_output(self) -> pd.DataFrame:
        """Metrics of each class, point or number, one row each by name; empty where there is only one."""
        rows = next((value for value in self._summary.get("metrics", {}).values() if isinstance(value, dict)), {})
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def predictions(self) -> pd.DataFrame:
        """What was answered on the validation side, one row per image (or pair of user and item).

        The columns are the image or pair, `predicted`, `truth`, `loss`, and what the task adds: a probability per
        class, for instance.

        Raises:
            InputError: there are several runs that share no predictions.
        """
        file = self.folder / "predictions.csv"
        if not file.is_file():
            raise InputError(f"`{self.folder}` holds several runs. Take one: {', '.join(self._names)}.")
        found = pd.read_csv(file).rename(columns=restored)
        texts = found.select_dtypes(["object", "string"]).columns
        found[texts] = found[texts].map(restored, na_action="ignore")
        return found

    @property
    def history(self) -> pd.DataFrame:
        """Losses and metrics: `epoch`, `is_probe`, `train_loss`, `valid_loss`, and the metrics by name.

        One row per epoch, and before them one for the probe of the head, where there was one.
        """
        results = read_history(self.folder / files.HISTORY) if (self.folder / files.HISTORY).is_file() else ()
        rows = [
            {
                "epoch": one.epoch,
                "is_probe": one.is_probe,
                "train_loss": one.train_loss,
                "valid_loss": one.valid_loss,
                **one.metrics,
            }
            for one in results
        ]
        return pd.DataFrame(rows)

    @property
    def seconds(self) -> float:
        """How long the run took, in seconds."""
        return float(self._summary["seconds"])

    @property
    def runs(self) -> dict[str, Run]:
        """The runs that this one consists of, by name: a seed or a fold each; empty where it is a single run."""
        return {name: Run(self.folder / name) for name in self._names}

    def predictor(self) -> Predictor:
        """Return the trained model, ready to answer: `run.predictor().predict(image)`.

        A run that is not on images has a predictor of its own kind; see `load_learner`.

        Raises:
            InputError: there are several runs, each with a model of its own.
        """
        if not (self.folder / files.MODEL).is_file() and self._names:
            raise InputError(f"`{self.folder}` holds several runs. Take one: {', '.join(self._names)}.")
        return cast("Predictor", load_predictor(self.folder / files.MODEL))

    def interpretation(self) -> Interpretation:
        """Return the predictions, to be looked at: confusion, worst answers, slices.

        The images must still be where they were; labels of training images are checked too, where the run kept answers
        for them.

        Raises:
            InputError: the run is not one on images, or holds several.
        """
        return files.interpretation_of(self.folder)

    def label_issues(self, k: int | None = None) -> list[LabelIssue]:
        """Return labels that are probably wrong, the likeliest first.

        Args:
            k: at most so many.

        Raises:
            InputError: labels of the task cannot be checked.
        """
        return self.interpretation().label_issues(k)

    def suggest(self, images: Iterable[ImageSource], k: int = 20, *, by: By = "both") -> list[Suggestion]:
        """Return which of some unlabelled images to label next, the one that helps most first.

        Args:
            images: paths, bytes, arrays or PIL images; those that the run was trained or validated on are left out.
            k: how many.
            by: "uncertainty" takes the images that the model is least certain of, "diversity" those that stand for most
                of the others, "both" those that stand for most of others that are uncertain.

        Returns:
            The images, each with how uncertain the model is, from 0 to 1, and its answer.

        Raises:
            InputError: none of the images is new, or can be used; the run is not one on images.
        """
        from foveal.runs.suggest import suggest

        return list(suggest(self.folder, images, k, by=by).chosen)

    @errors_spelled(arguments_of_python)
    def report(
        self,
        by: str | Sequence[str] = (),
        *,
        out: str | os.PathLike[str] | None = None,
        embed_images: bool | None = None,
    ) -> Path:
        """Write the report anew.

        Args:
            by: columns of the source that metrics are given by, as "person,camera" or a list; those of the settings by
                default.
            out: the page; report.html in the folder by default.
            embed_images: whether images may stand in it; as the settings say by default.

        Returns:
            The path of the page.

        Raises:
            InputError: the run is not one on images, or there is no such column.
        """
        from foveal.runs.images import rewrite_report

        return rewrite_report(
            self.folder, by=parse_names(by), out=None if out is None else Path(out), embed_images=embed_images
        )

    @errors_spelled(arguments_of_python)
    def compare(self, other: Run | str | os.PathLike[str], *, on_shared: bool = False) -> Comparison:
        """Compare with another run on the images that both answered for: is the other one better, or was it luck?

        Args:
            other: a run, or its folder.
            on_shared: compare even where they share less than half of their validation images.

        Returns:
            How many images are shared, and for each headline metric the difference with its interval.

        Raises:
            InputError: they answer different questions, or share too few images.
        """
        folder = other.folder if isinstance(other, Run) else Path(other)
        return compare(files.predictions_of(self.folder), files.predictions_of(folder), on_shared=on_shared)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {page.number(value.value, digits=4)}" for name, value in self.metrics.items())
        return f"Run({str(self.folder)!r}: {shown or str(len(self._names)) + ' runs'})"

    def _repr_html_(self) -> str:
        """Return the metrics and the sheet of validation images, as a notebook shows them."""
        rows = page.intervals(self.metrics)
        shown = page.table(("metric", "value", "interval"), rows)
        sheet = self.folder / files.SAMPLES
        if sheet.is_file():
            shown += page.drawing(sheet.read_bytes(), "validation images")
        return f"<p><code>{escape(str(self.folder))}</code></p>{shown}"
