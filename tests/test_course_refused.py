"""Names of fastai that foveal lacks: what is said of them, and where."""

import importlib
import sys

import pytest

import foveal.collab.all as ratings_star
import foveal.vision.all as star
from foveal.course.refused import (
    INSTEAD,
    explain_missing_names,
    families,
    fastai_names,
    library_imports,
    missing_name,
    refused,
)

FAMILIES = dict(families())


def test_the_list_holds_names_by_the_module_that_defines_them():
    names = fastai_names()
    assert len(names) > 1000
    assert all(name.isidentifier() for name in names)
    for name, module in {
        "vision_learner": "fastai.vision.learner",
        "TextDataLoaders": "fastai.text.data",
        "store_attr": "fastcore.basics",
        "RandTransform": "fastai.vision.augment",
        "gv": "fastbook",
    }.items():
        assert names[name] == module


def test_the_list_is_of_names_that_foveal_knows_most_of_the_course_by():
    """Most names of foveal's star imports that are no other library's are fastai's, so the list is of the right thing."""
    own = [n for n in star.__all__ if str(getattr(getattr(star, n), "__module__", "")).startswith("foveal")]
    assert sum(name in fastai_names() for name in own) > len(own) / 2


@pytest.mark.parametrize(
    ("name", "line"), [("os", "import os"), ("np", "import numpy as np"), ("Image", "from PIL import Image")]
)
def test_import_lines_of_other_libraries(name, line):
    assert library_imports()[name] == line


def test_every_import_line_of_what_is_installed_works():
    bare = {"graphviz", "ipywidgets", "scipy", "sklearn", "requests"}  # foveal does not need them
    lines = [line for line in library_imports().values() if line.split()[1].partition(".")[0] not in bare]
    assert len(lines) > 150
    for line in lines:
        words = line.split()
        module = importlib.import_module(words[1])
        assert words[0] == "import" or hasattr(module, words[3]), line


@pytest.mark.parametrize(
    ("name", "family", "says"),
    [
        ("TextDataLoaders", "text", "transformers"),
        ("AWD_LSTM", "text", "transformers"),
        ("rnn_cbs", "text", "transformers"),
        ("TabularPandas", "tables", "scikit-learn"),
        ("TabularCollab", "tables", "scikit-learn"),
        ("unet_learner", "segmentation", "segmentation_models_pytorch"),
        ("DynamicUnet", "segmentation", "segmentation_models_pytorch"),
        ("PILMask", "segmentation", "segmentation_models_pytorch"),
        ("BBoxBlock", "detection", "torchvision.models.detection"),
        ("GANLearner", "generation", "diffusers"),
        ("PILDicom", "medical", "pydicom"),
        ("NeptuneCallback", "tracker", "CSVLogger"),
        ("DistributedTrainer", "processes", "torchrun"),
        ("NonNativeMixedPrecision", "fp16", "to_fp16"),
        ("master_bar", "progress", "tqdm"),
    ],
)
def test_families(name, family, says):
    assert FAMILIES[name] == family
    assert says in refused(name)
    assert f"`{name}` is fastai's" in refused(name)


def test_no_name_of_a_family_that_foveal_leaves_to_others_is_in_a_star_import():
    """But for functions that stand there to refuse, with a sentence of their own."""
    both = {*star.__all__, *ratings_star.__all__} & {
        n for n, f in FAMILIES.items() if f not in {"fp16", "tracker", "tables"}
    }
    assert both <= {"get_text_files"}


def test_every_name_has_a_sentence_that_ends_and_names_it():
    for name in {*fastai_names(), *library_imports(), *INSTEAD, *FAMILIES}:
        sentence = refused(name)
        assert f"`{name}`" in sentence
        assert sentence.endswith((".", "?"))
    assert refused("wibble") is None


def test_what_stands_in_place_of_a_name_is_for_names_that_are_missing():
    assert not INSTEAD.keys() & {*star.__all__, *ratings_star.__all__}


def test_near_matches_and_packages_of_their_own():
    assert refused("ColSplitters", ["ColSplitter"]) is None  # not fastai's: no word of it
    assert refused("SimpleSelfAttention", ["SelfAttention"]).endswith("Did you mean `SelfAttention`?")
    assert "from foveal.course.transforms import RandTransform" in refused("RandTransform")
    assert "`from fastcore.basics import camel2snake`, once `pip install fastcore` is done" in refused("camel2snake")


@pytest.fixture
def lacking(tmp_path, monkeypatch):
    """A module whose `__getattr__` asks."""
    (tmp_path / "lacking_module.py").write_text(
        "from foveal.course.refused import missing_name\n__all__ = ['Resize']\nResize = 3\n"
        "def __getattr__(name):\n    raise missing_name(__name__, name, __all__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lacking_module")
    del sys.modules["lacking_module"]


def test_an_import_of_a_missing_name_says_what_to_write(lacking):
    with pytest.raises(ImportError, match=r"^`unet_learner` is fastai's for segmentation"):
        from lacking_module import unet_learner  # noqa: F401
    with pytest.raises(ImportError, match=r"^`lacking_module` has no `Resise`\. Did you mean `Resize`\?$"):
        from lacking_module import Resise  # noqa: F401
    with pytest.raises(AttributeError, match=r"^`unet_learner` is fastai's for segmentation"):
        _ = lacking.unet_learner
    with pytest.raises(AttributeError, match=r"`lacking_module` has no `Resise`\. Did you mean `Resize`\?"):
        _ = lacking.Resise
    assert not hasattr(lacking, "unet_learner")
    assert not hasattr(lacking, "__path__")
    assert getattr(lacking, "unet_learner", None) is None
    assert isinstance(missing_name("m", "__wrapped__"), AttributeError)


def test_outside_ipython_nothing_is_changed(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert explain_missing_names() is False
