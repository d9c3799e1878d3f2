"""What is written otherwise in foveal and means the same, so that a copy can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RENAMED: Mapping[str, str] = MappingProxyType({"cnn_learner": "vision_learner", "create_cnn": "vision_learner"})
"""Names that have become others of foveal's star imports."""

ADDED_METHODS: Mapping[str, str] = MappingProxyType({"pca": "foveal.models.pca"})
"""Methods that fastai adds to tensors, and where the function of the same name is."""

KEYWORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "max_lr": ("lr_max", "lr"),
        "cyc_len": ("n_epoch",),
        "epochs": ("n_epoch",),
        "n_epochs": ("n_epoch", "epochs"),
        "n_epoch": ("epochs",),
        "callbacks": ("cbs",),
        "callback_fns": ("cbs",),
        "pct_train": ("train_pct",),
        "base_arch": ("arch",),
        "dbunch": ("dls",),
        "file_extensions": ("file_exts",),
        "pat": ("pattern",),
        "model_dir": ("path",),
    }
)
"""Keywords of older versions; they become the first of these that the function takes."""

SPEED_ONLY: Mapping[str, str] = MappingProxyType(
    {
        "num_workers": "foveal loads images in threads and finds their number",
        "n_workers": "foveal finds the number of threads",
        "pin_memory": "foveal decides it",
        "persistent_workers": "foveal loads images in threads",
        "prefetch_factor": "foveal decides it",
        "cuda": "batches are normalised where they are",
        "non_blocking": "foveal decides it",
        "timeout": "foveal decides it",
        "show_progress": "it changes no result",
        "verbose": "it changes no result",
        "progress": "it changes no result",
    }
)
"""Keywords that change no result; they are left out where the function does not take them."""
