"""Which reader reads a source: the format is recognised, and options that it does not use are refused."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path as SystemPath
from typing import NamedTuple

from foveal.core.errors import FovealError, InputError, TableError, UnknownNameError, near_match
from foveal.core.listing import Path
from foveal.sources.formats import FORMATS, Match, ReadOptions, TableColumns, sniff
from foveal.sources.items import NO_IMAGE, Finding, Source
from foveal.sources.tree import Tree, ending_of, looked_at_once, tree_of
from foveal.tasks.kinds import TASKS
from foveal.tasks.label_lists import PartialLabels

_OPTIONS = {
    "image": "--image-column",
    "label": "--label-column",
    "labels": "--label-columns",
    "group": "--group-column",
    "about": "--by",
    "valid": "--valid-column",
    "points": "--points",
    "targets": "--targets",
    "label_delimiter": "--label-delimiter",
    "empty": "--empty",
}
"""How the command line calls the fields of `TableColumns`."""
_ODD_VALUES = (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError)
_ANNOTATED = 0.5  # from which sureness on there are annotations, and not folders or images alone
_DEPTH = 4  # folders down to where annotations are looked for
_MOST_FOLDERS = 400  # that are looked into; chosen by hand: more are one for each class
_ENDINGS = frozenset([".json", ".xml", ".csv", ".tsv", ".jsonl", ".txt", ".yaml", ".yml", ".parquet", ".xlsx"])
"""Endings of files that may hold annotations."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".rar", ".7z")
_NO_ANNOTATIONS = frozenset(
    {"requirements.txt", "readme.txt", "license.txt", "readme.roboflow.txt", "readme.dataset.txt"}
)


class _Found(NamedTuple):
    name: str
    match: Match
    place: SystemPath


def read_source(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
    format: str = "auto",
    predictions: bool = False,
    encoding: str | None = None,
) -> Source:
    """Return a table, a file of annotations, or a folder (of a known format, of class folders, of images) as a source.

    The formats are those of `foveal.sources.formats`; packages may add some. In a folder that holds nothing else, a
    data set is found some folders down as well. The result says what the source was taken for, and why.

    Args:
        path: the file or folder.
        images: the folder of the images; by default the one that `path` lies in.
        columns: for tables, which columns hold what.
        task: `auto`, or what the labels should be read as.
        format: `auto`, or the name of the format.
        predictions: whether a model's predictions count as labels where nobody labelled.
        encoding: of a table's text; found out by default.

    Raises:
        InputError: it is of no known format, cannot be used, does not use something that was given, or its labels are
            not what `task` needs.
        TableError: a file is not as its format describes it.
        FovealError: any other that a reader raises, such as a package that is missing.
    """
    file = SystemPath(path)
    folder = SystemPath(images) if images is not None else None
    options = ReadOptions(
        images=folder,
        columns=columns,
        task=task,
        predictions=predictions,
        encoding=encoding,
        sure=format != "auto",
    )
    name = "a format that is known"
    with looked_at_once():
        try:
            found = _find(file) if format == "auto" else _named(file, format)
            name = found.name
            source = found.match.read(options)
        except InputError as error:
            if name == "folders":  # what else lies there may be what the owner means
                raise InputError(f"{error} ({_seen(tree_of(file))})") from error
            raise
        except FovealError:
            raise
        except _ODD_VALUES as error:  # a file holds something else than its format says: found out while it is read
            raise TableError(f"`{file}` is not as {name} describes it ({type(error).__name__}: {error}).") from error
        source = _with_unnamed(source, found)
    _refuse_unused(source, found.match, options)
    if found.place != file:
        below = os.path.relpath(found.place, file)
        source = replace(source, place=f"{below}/{source.place}" if source.place else below)
    elif not source.place and file.is_file():
        source = replace(source, place=file.name)
    return _for_task(replace(source, why=found.match.why), task)


def _find(file: SystemPath) -> _Found:
    """Return the surest format: of the path itself, or of the one data set below it.

    Raises:
        InputError: no format is recognised, or several data sets lie below the path.
    """
    here = _surest(file)
    if not file.is_dir() or (here is not None and here.match.sure >= _ANNOTATED):
        if here is None:
            raise _unknown(file)
        return here
    below = _annotated_below(file)
    if len(below) > 1:
        named = ", ".join(f"{found.place.relative_to(file)} ({found.name})" for found in below[:6])
        raise InputError(
            f"`{file}` holds several data sets: {named}{', …' if len(below) > 6 else ''}. Name the one to read."
        )
    if below:
        return below[0]
    if here is None:
        raise _unknown(file)
    if here.name == "folders" and (inner := _only_folder(tree_of(file))) is not None:
        there = _surest(inner)
        if there is not None and there.name == "folders":  # what an archive unpacks to
            return _find(inner)
    if here.name == "images":
        return here._replace(match=here.match._replace(why=f"images, and no labels; {_seen(tree_of(file))}"))
    return here


def _surest(place: SystemPath) -> _Found | None:
    best: _Found | None = None
    for name, look in FORMATS.items():
        match = look(Path(place))
        if match is not None and (best is None or match.sure > best.match.sure):
            best = _Found(name, match, place)
    return best


def _named(file: SystemPath, name: str) -> _Found:
    if name not in FORMATS:
        raise UnknownNameError.of("format", name, ("auto", *FORMATS))
    match = FORMATS[name](Path(file))
    if match is None:
        guess = _surest(file)
        hint = f" It seems to be {guess.name}: {guess.match.why}." if guess is not None else ""
        raise InputError(f"`{file}` is not of the format {name}.{hint}")
    return _Found(name, match, file)


def _annotated_below(folder: SystemPath) -> list[_Found]:
    """Return the data sets with annotations below a folder, none of which lies in another."""
    tree = tree_of(folder)
    found: list[_Found] = []
    n_seen = 0

    def look(inside: SystemPath, depth: int) -> None:
        nonlocal n_seen
        for child in tree.folders(inside):
            n_seen += 1
            if n_seen > _MOST_FOLDERS or not _may_be_annotated(tree, child):
                continue
            match = _surest(child)
            if match is not None and match.match.sure >= _ANNOTATED:
                found.append(match)
            elif depth > 1:
                look(child, depth - 1)

    look(folder, _DEPTH)
    return found


def _may_be_annotated(tree: Tree, folder: SystemPath) -> bool:
    return any(ending_of(name) in _ENDINGS for inside in tree.below(folder) for name in tree.names[inside])


def _only_folder(tree: Tree) -> SystemPath | None:
    """Return the one folder with images of a folder without images of its own."""
    inner = [folder for folder in tree.folders() if tree.holds_images(folder)]
    own = any(image.parent == tree.root for image in tree.images)
    return inner[0] if len(inner) == 1 and not own else None


def _seen(tree: Tree) -> str:
    """Return what a folder holds, as a person would list it, and files that may have labels and were not recognised."""
    counts = Counter(ending_of(name) or "without ending" for names in tree.names.values() for name in names)
    shown = ", ".join(f"{n:,} {ending}" for ending, n in counts.most_common(5))
    folders = [f"{folder.name}/" for folder in tree.folders()[:5]]
    others = [file for file in tree.files(*_ENDINGS, depth=_DEPTH) if file.name.lower() not in _NO_ANNOTATIONS]
    files = [str(file.relative_to(tree.root)) for file in others[:4]]
    return (
        f"seen: {shown or 'no files'}"
        + (f"; folders {', '.join(folders)}" if folders else "")
        + (f"; not recognised: {', '.join(files)}{', …' if len(others) > len(files) else ''}" if files else "")
        + "".join(f"; {hint}" for hint in _hints(tree, others))
    )


def _hints(tree: Tree, others: Sequence[SystemPath]) -> Iterator[str]:
    """Yield what the owner of a folder may not know of files in it."""
    if tree.hidden:
        hidden = ", ".join(str(file.relative_to(tree.root)) for file in tree.hidden[:3])
        yield f"hidden, and so not read: {hidden}"
    if any(file.name.lower() == "_classes.csv" and b"Pixel Value" in sniff(file) for file in others):
        yield "_classes.csv is the legend of masks, for segmentation, which is not learned"
    if archives := tree.files(*_ARCHIVES, depth=_DEPTH):
        yield f"an archive may hold the rest, unpack it: {archives[0].relative_to(tree.root)}"
    if any(file.name.lower().endswith("createml.json") for file in others):
        yield "annotations of CreateML are not read: export them as COCO"
    if records := tree.files(".tfrecord", ".record", ".tfrecords", depth=_DEPTH):
        yield f"records of TensorFlow are not read: {records[0].relative_to(tree.root)}"


def _with_unnamed(source: Source, found: _Found) -> Source:
    """Return a source with a note on the images of its folder that it does not name."""
    if not found.place.is_dir() or found.match.sure < _ANNOTATED:
        return source
    named = {item.image for item in (*source.items, *source.test)}
    left = [image for image in tree_of(found.place).images if image not in named]
    n_missing = sum(finding.rule == NO_IMAGE for finding in source.findings)
    n = len(left) - max(0, source.n_left_out - n_missing)  # without those that are named and not labelled
    if n <= 0:
        return source
    folders = Counter(f"{image.parent.relative_to(found.place)}/" for image in left)
    exact = n == len(left)
    shown = [f"{folder} ({m:,})" if exact else folder for folder, m in folders.most_common(4)]
    value = f"{n:,}, in {', '.join(shown)}{', …' if len(folders) > len(shown) else ''}"
    return replace(source, findings=(*source.findings, Finding("note", "image that is not named", "", value)))


def _refuse_unused(source: Source, match: Match, options: ReadOptions) -> None:
    """Refuse what was given for a source whose format does not use it.

    Raises:
        InputError: there is something that it does not use; the message names it.
    """
    given = {
        "images": ("--images", options.images is not None),
        "predictions": ("--predictions", options.predictions),
        "encoding": ("--encoding", options.encoding is not None),
    }
    unused = [option for name, (option, is_given) in given.items() if is_given and name not in match.uses]
    if options.columns is not None and "columns" not in match.uses:
        usual = TableColumns()
        fields = (field.name for field in dataclasses.fields(usual))
        changed = (name for name in fields if getattr(options.columns, name) != getattr(usual, name))
        unused += [_OPTIONS[name] for name in changed if name not in match.uses]
    if unused:
        raise InputError(f"{' and '.join(unused)} cannot be used with this source ({source.kind}): leave it out.")


def _for_task(source: Source, task: str) -> Source:
    """Return a source for the task that the user named: its labels must be of the form that this task learns.

    Raises:
        InputError: they are of another form.
    """
    if task in {"auto", source.task} or source.task == "none":
        return source
    form, wanted = TASKS[source.task].label_form, TASKS[task].label_form
    if (form, wanted) == ("name", "names"):
        return _relabelled(source, task, lambda label: None if label is None else [label])
    if (form, wanted) == ("names", "name") and all(_only(item.label) is not None for item in source.items):
        return _relabelled(source, task, _only)
    if form != wanted:
        raise InputError(
            f"--task {task} cannot be learned from this source ({source.kind}): its labels are those of {source.task}."
        )
    return replace(source, task=task)


def _relabelled(source: Source, task: str, change: Callable[[object], object]) -> Source:
    items, test = ([replace(item, label=change(item.label)) for item in some] for some in (source.items, source.test))
    return replace(source, task=task, items=items, test=test)


def _only(label: object) -> str | None:
    """Return the one name of a label; None where it has several, none, or some that are unknown."""
    if isinstance(label, PartialLabels):
        label = () if label.unknown else label.present
    return str(label[0]) if isinstance(label, list | tuple) and len(label) == 1 else None


def _unknown(file: SystemPath) -> InputError:
    known = "COCO, Label Studio, LabelMe or VGG Image Annotator"
    if file.is_file() and file.suffix.lower() == ".json":
        return TableError(f"`{file}` is no annotation of a known format: expected {known}.")
    if file.is_dir():
        tree = tree_of(file)
        labels = sum(ending_of(name) in _ENDINGS for names in tree.names.values() for name in names)
        hint = " Files that may hold labels are there, but not their images." if labels else ""
        return InputError(f"The folder `{file}` holds no images; {_seen(tree)}.{hint}")
    there = file.parent.iterdir() if file.parent.is_dir() else ()
    beside = [other.name for other in there if other.name != file.name]
    if file.is_file():
        return InputError(
            f"`{file.name}` is no source: expected a table (.csv, .tsv, .jsonl, .parquet, .xlsx), a .json of {known}, "
            "an XML of CVAT, the .yaml of a YOLO data set, or a folder."
        )
    return InputError(f"There is no file or folder `{file}`.{near_match(file.name, beside)}")
