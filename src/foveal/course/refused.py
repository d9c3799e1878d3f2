"""Names of fastai that foveal does not have: what each is for, and what to write instead.

The names stand in `fastai_names.txt`, by the module of fastai that defines them; which family a name belongs to follows
from its module, or is listed here. Ask only for names that a star import of foveal lacks: the list holds all of
fastai's, those that foveal has too among them.
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.resources
import keyword
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any

from foveal.core.errors import near_match

_FAMILIES = {
    "text": "for text, which foveal does not do; Hugging Face's transformers does.",
    "tables": "for tables, which foveal does not do; scikit-learn does.",
    "segmentation": "for segmentation, a class per pixel, which foveal does not do; segmentation_models_pytorch does.",
    "detection": "for boxes around objects, which foveal does not do; torchvision.models.detection does.",
    "generation": "for images that a model makes (GANs), which foveal does not do; diffusers does.",
    "medical": "for DICOM files and scans; convert them to PNG or TIFF first, for instance with pydicom.",
    "tracker": "for an online tracker; foveal writes to files: `cbs=CSVLogger()` or `cbs=TensorBoardLogger()`.",
    "processes": "for several GPUs; start the script with torchrun instead, and it trains in several processes.",
    "fp16": "for half precision; write `learn.to_fp16()`.",
    "progress": "for a bar of progress; write `from tqdm.auto import tqdm` and `for item in tqdm(items):`.",
}
"""What a family of names is for, and what to use instead."""

_FAMILY_OF_MODULE = {
    "fastai.text": "text",
    "fastai.callback.rnn": "text",
    "fastai.medical.text": "text",
    "fastai.tabular": "tables",
    "fastai.vision.gan": "generation",
    "fastai.vision.models.unet": "segmentation",
    "fastai.medical": "medical",
    "fastai.callback.wandb": "tracker",
    "fastai.callback.comet": "tracker",
    "fastai.callback.neptune": "tracker",
    "fastai.callback.azureml": "tracker",
    "fastai.callback.tensorboard": "tracker",
    "fastai.distributed": "processes",
    "fastai.callback.fp16": "fp16",
    "fastprogress": "progress",
}
"""The family of a module and of those in it; the longest that fits counts."""

_FAMILY_OF_NAME = {
    "segmentation": (
        "unet_learner create_unet_model MaskBlock SegmentationDataLoaders SegmentationInterpretation AddMaskCodes "
        "PILMask OpenMask TensorMask ArrayMask Dice DiceMulti DiceLoss JaccardCoeff JaccardCoeffMulti foreground_acc "
        "PixelShuffle_ICNR icnr_init SegmentationItemList"
    ),
    "detection": (
        "BBoxBlock BBoxLblBlock BBoxLabeler LabeledBBox TensorBBox bb_pad clip_remove_empty get_annotations "
        "ObjectItemList"
    ),
    "text": (
        "get_text_files Perplexity perplexity CorpusBLEUMetric TextList TextLMDataBunch TextClasDataBunch TextDataBunch"
    ),
    "tables": "TabularCollab cluster_columns draw_tree TabularList TabularDataBunch",
    "tracker": "NeptuneCallback",
    "progress": "progress_bar master_bar",
}
"""Names whose module holds names of other families too, or that only older versions of fastai have."""

INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "ImageDataBunch": "write `ImageDataLoaders`, as fastai 2 does.",
        "ImageList": "write `ImageDataLoaders` or `DataBlock`, as fastai 2 does.",
        "CollabDataBunch": "write `CollabDataLoaders`, as fastai 2 does.",
        "create_cnn": "write `vision_learner`.",
        "get_transforms": "write `aug_transforms`.",
        "RegexLabeler": "write `RegexLabeller`.",
        "store_attr": "write the assignments out: `self.x = x`.",
        "patch": "write the function, then `TheClass.name = the_function`.",
        "patch_to": "write the function, then `TheClass.name = the_function`.",
        "patch_property": "write the function, then `TheClass.name = property(the_function)`.",
        "delegates": "leave the decorator out, and write the arguments out.",
        "typedispatch": "leave the decorator out; let the function ask with `isinstance`.",
        "ifnone": "write `b if a is None else a`.",
        "listify": "write `L(x)`.",
        "image_size": "write `Image.open(file).size`.",
        "test_ne": "write `assert a != b`.",
        "test_close": "write `assert np.allclose(a, b)`.",
        "test_fail": "write `with pytest.raises(...)`, or try and except.",
        "search_images_bing": "collect addresses otherwise, and give them to `download_images(dest, urls=urls)`.",
        "search_images_ddg": "collect addresses otherwise, and give them to `download_images(dest, urls=urls)`.",
        "search_images_serpapi": "collect addresses otherwise, and give them to `download_images(dest, urls=urls)`.",
        "gv": "draw with the package graphviz: `graphviz.Source(...)`.",
        "gv2": "draw with the package graphviz: `graphviz.Source(...)`.",
        "show_install": "write `!foveal info`.",
        "nb_urls": "write `dir(URLs)`.",
        "Config": "write the folder itself, or give `untar_data(url, dest=folder)`.",
        "show_at": "write `dls.show_batch()`.",
        "model_meta": "write `imagenet_stats`; the model's own statistics are used without being asked.",
        "image_cat": "write the path of an image of yours.",
        "image_bear": "write the path of an image of yours.",
        "fastuple": "write `tuple`.",
        "Inf": "write `itertools.count()` or `itertools.cycle()`.",
        "save_pickle": "write `torch.save`, or the table as CSV.",
        "load_pickle": "write `torch.load(file, weights_only=True)`, or read the table from CSV.",
        "plot_top_losses": "write `interp.plot_top_losses(k)`.",
        "TransformBlock": "write a block that foveal has: `ImageBlock`, `CategoryBlock`, `RegressionBlock`, ...",
        "SuggestionMethod": "write `lr_find(suggest_funcs=(valley, steep))`.",
        "CaptumInterpretation": "write `learn.explain(image)`, which shows Grad-CAM.",
        "TfmdLists": "write `Datasets`, or a `DataBlock`.",
        "resize_to": "write `image.resize((width, height))`.",
        "get_image_files_sorted": "write `get_image_files(path).sorted()`.",
        "untar_dir": "write `shutil.unpack_archive(file, dest)`.",
        "even_mults": "write `np.geomspace(start, stop, n)`.",
        "fastai_cfg": "set the environment variable FOVEAL_HOME, or give `untar_data(url, dest=folder)`.",
        "fastai_path": "set the environment variable FOVEAL_HOME, or give `untar_data(url, dest=folder)`.",
    }
)
"""What to write in place of single names; asked before the families are."""

_FASTAI = ("fastai", "fastbook", "fasttransform")
_ENTRY = re.compile(r"(import|import as|from [\w.]+|[\w.]+): (.+)")


@functools.cache
def _entries() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (what stands before the colon, the names) of each entry of the list."""
    text = importlib.resources.files("foveal.course").joinpath("fastai_names.txt").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    matches = (_ENTRY.fullmatch(entry) for entry in lines.replace("\n  ", " ").splitlines())
    return tuple((match[1], tuple(match[2].split())) for match in matches if match)


@functools.cache
def fastai_names() -> Mapping[str, str]:
    """Return the module that defines it for each public name of fastai and of its own libraries."""
    own = ((head, names) for head, names in _entries() if not head.startswith(("import", "from ")))
    return MappingProxyType({name: module for module, names in own for name in names})


@functools.cache
def library_imports() -> Mapping[str, str]:
    """Return the import line for each name of another library that fastai's star imports bring."""
    lines: dict[str, str] = {}
    for head, names in _entries():
        if head == "import":
            lines |= {name: f"import {name}" for name in names}
        elif head == "import as":
            pairs = (name.partition("=") for name in names)
            lines |= {short: f"import {module} as {short}" for short, _, module in pairs}
        elif head.startswith("from "):
            lines |= {name: f"{head} import {name}" for name in names}
    return MappingProxyType(lines)


def refused(name: str, known: Iterable[str] = ()) -> str | None:
    """Return the sentence on a name of fastai that foveal does not have: what it is for, what to write instead.

    Args:
        name: a name that a star import of foveal lacks.
        known: the names that it has; the near match is offered where nothing better is known.

    Returns:
        The sentence, or None for a name that is not fastai's.
    """
    module, family = fastai_names().get(name), _family_of(name)
    if place := elsewhere(name):
        return f"foveal's star import does not bring `{name}`: write `from {place} import {name}`."
    if name in INSTEAD:
        return f"`{name}` is not in foveal: {INSTEAD[name]}"
    if family:
        return f"`{name}` is fastai's {_FAMILIES[family]}"
    if module is None:
        line = library_imports().get(name)
        return line and f"foveal's star import does not bring `{name}`: write `{line}`."
    if not module.startswith(_FASTAI):
        package = module.partition(".")[0]
        return (
            f"`{name}` is not in foveal; it is of {package}, a package of its own: write "
            f"`from {module} import {name}`, once `pip install {package}` is done."
        )
    return f"`{name}` of fastai (`{module}`) is not in foveal.{near_match(name, known)}"


def elsewhere(name: str) -> str | None:
    """Return the module of foveal that has a name which the star import does not bring; None without one."""
    star = sys.modules.get("foveal.vision.all")
    if star is not None and name in [one.__name__ for one in star.BY_NAME]:
        return star.__name__
    course = (
        f"foveal.course.{one.name}" for one in pkgutil.iter_modules(importlib.import_module("foveal.course").__path__)
    )
    for module in map(importlib.import_module, (*course, "foveal.images.show")):
        value = getattr(module, name, None)
        if value is not None and getattr(value, "__module__", None) == module.__name__:
            return module.__name__
    return None


def _family_of(name: str) -> str | None:
    for family, names in _FAMILY_OF_NAME.items():
        if name in names.split():
            return family
    module = fastai_names().get(name, "")
    fitting = [known for known in _FAMILY_OF_MODULE if f"{module}.".startswith(f"{known}.")]
    return _FAMILY_OF_MODULE[max(fitting, key=len)] if fitting else None


def families() -> Iterator[tuple[str, str]]:
    """Yield (name, family) for each name of fastai whose family foveal leaves to other packages."""
    older = {name for names in _FAMILY_OF_NAME.values() for name in names.split()}
    for name in sorted({*fastai_names(), *older}):
        if family := _family_of(name):
            yield name, family


def missing_name(module: str, name: str, known: Iterable[str] = ()) -> Exception:
    """Return what a module's `__getattr__` raises for a name that it lacks.

    `from module import name` shows only the message of an ImportError, and `hasattr` takes only an AttributeError, so
    that the one or the other is returned by what asks.

    Args:
        module: its dotted name.
        name: that it lacks.
        known: the names that it has.
    """
    if name.startswith("_"):
        return AttributeError(f"module `{module}` has no attribute `{name}`.", name=name)
    sentence = refused(name, known) or f"`{module}` has no `{name}`.{near_match(name, known)}"
    asking = sys._getframe(2) if hasattr(sys, "_getframe") else None  # noqa: SLF001 -- documented; the caller's caller
    if asking is not None and _is_import(asking):
        return ImportError(sentence, name=module)
    return AttributeError(sentence, name=name)


def _is_import(frame: FrameType) -> bool:
    """Return whether a frame stands at `from module import name`."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"


def explain_missing_names() -> bool:
    """Let a notebook that names what foveal does not have say so in the NameError.

    Does nothing outside IPython, nor where another handler of errors is set.

    Returns:
        Whether it will.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is None:
        return False
    if not shell.custom_exceptions:
        shell.set_custom_exc((NameError,), _show_explained)
        return True
    return bool(shell.custom_exceptions == (NameError,))


def _show_explained(
    shell: Any, kind: type[BaseException], error: NameError, trace: object, tb_offset: int | None
) -> None:
    """Show a NameError as IPython does, with the sentence on a name of fastai.

    Args:
        shell: IPython's.
        kind: the error's class.
        error: it, which gets the sentence.
        trace: its traceback.
        tb_offset: frames of IPython's own.
    """
    name = getattr(error, "name", None)
    sentence = refused(name) if isinstance(name, str) and not keyword.iskeyword(name) else None
    if sentence is not None and sentence not in str(error):
        error.args = (f"{error}. {sentence}",)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
