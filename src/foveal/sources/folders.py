"""Folders of images: plain ones, and one folder per class."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path as SystemPath

from foveal.core import storage
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.images.decode import EXTENSIONS
from foveal.sources.formats import NO_OPTIONS, Match, ReadOptions
from foveal.sources.gather import left_out
from foveal.sources.items import Finding, Item, Source
from foveal.sources.sides import Side, set_aside_test, side_of
from foveal.sources.tree import Tree, ending_of, is_hidden, tree_of
from foveal.tasks.kinds import form_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel

_NO_CLASSES = re.compile(
    r"images?|imgs?|photos?|jpegimages|annotations?|labels?|masks?|segmentation.*|overlays?|data|dataset",
    re.IGNORECASE,
)
"""Names of folders that hold parts of a data set and not a class."""
_OTHER_IMAGES = frozenset(
    [
        ".jp2",
        ".j2k",
        ".jxl",
        ".psd",
        ".dcm",
        ".dicom",
        ".svg",
        ".tga",
        ".ico",
        ".exr",
        ".hdr",
        ".raw",
        ".cr2",
        ".nef",
        ".arw",
        ".dng",
        ".npy",
        ".mat",
        ".pdf",
        ".nii",
        ".svs",
    ]
)
"""Endings of files that hold images in a format that is not read."""
_SEVERAL = 0.05  # of the images: so many in several class folders are meant; chosen by hand
_AROUND_A_SIDE = 3  # class folders, of which one may have the name of a side; chosen by hand
_SHOWN = 5


def get_image_files(
    path: str | os.PathLike[str], recurse: bool = True, folders: str | Iterable[str] | None = None
) -> L[Path]:
    """Return all images below `path`, sorted, so that a seeded split is the same on every machine.

    Images are files whose ending is that of a format that foveal reads; they are not opened.

    Args:
        path: the folder.
        recurse: whether to look into its folders, also through links; hidden ones are skipped.
        folders: if given, only these folders directly below `path`; "." stands for the images directly in it.

    Raises:
        InputError: there is no such folder.
        UnknownNameError: one of `folders` is not there.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PASCAL)
        >>> files = get_image_files(path, folders="test")
        >>> len(files), files[0].name
        (30, '000240.jpg')
    """
    return get_files(path, EXTENSIONS, recurse, folders)


def get_files(
    path: str | os.PathLike[str],
    extensions: str | Iterable[str] | None = None,
    recurse: bool = True,
    folders: str | Iterable[str] | None = None,
) -> L[Path]:
    """Return all files below `path`, sorted; hidden ones are skipped.

    Args:
        path: the folder.
        extensions: if given, only files with these endings, such as ".csv"; small letters and capitals are the same.
        recurse: whether to look into its folders, also through links.
        folders: if given, only these folders directly below `path`; "." stands for the files directly in it.

    Raises:
        InputError: there is no such folder.
        UnknownNameError: one of `folders` is not there.

    Examples:
        >>> from foveal.vision.all import *
        >>> get_files(untar_data(URLs.SAMPLE_PASCAL), extensions=".csv").attrgot("name")
        (#2) ['test.csv','train.csv']
    """
    root = SystemPath(path)
    if not root.is_dir():
        raise InputError(f"There is no folder `{root}` to look for files in.")
    names = [folders] if isinstance(folders, str) else list(folders or ())
    if missing := [name for name in names if not (root / name).is_dir()]:
        there = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
        raise UnknownNameError.of(f"folder in `{root}`", missing[0], there)
    endings = None if extensions is None else {f".{ending.lower().lstrip('.')}" for ending in L(extensions)}
    found: list[SystemPath] = []
    for start in {root / name for name in names if name != "."} or ([] if names else [root]):
        if recurse:
            found += [inside / name for inside, inner in tree_of(start).names.items() for name in inner]
        else:
            found += _directly_in(start)
    if "." in names:
        found += _directly_in(root)
    return L(sorted(Path(file) for file in found if endings is None or ending_of(file.name) in endings))


def _directly_in(folder: SystemPath) -> list[SystemPath]:
    return [file for file in folder.iterdir() if not is_hidden(file.name) and file.is_file()]


def images_in(folder: str | os.PathLike[str]) -> L[Path]:
    """Return all images below a folder, sorted.

    Raises:
        InputError: the folder holds no image.
    """
    if not (files := get_image_files(folder)):
        raise InputError(f"There is no image in `{folder}`.")
    return files


def read_folders(folder: SystemPath, *, sure: bool = False, several: bool = False) -> Source:
    """Return the images of one folder per class, below train/ and valid/ (or val/, test/) where there are such folders.

    An image that lies in several class folders, with the same name and content, has several labels.

    Args:
        folder: with a folder per class, or per side.
        sure: whether the user says that the folders are classes, whatever they are called.
        several: whether the user says that images have several labels.

    Raises:
        InputError: no folder holds images, the folders are not those of classes, or one image is on both sides.
    """
    tree = tree_of(folder)
    sides = _sides_of(tree)
    findings: list[Finding] = []
    entries: list[tuple[Item, Side | None]] = []
    roots: list[tuple[SystemPath, Side | None]] = [*sides] or [(folder, None)]
    for root, side in roots:
        for child in _classes_below(tree, root, findings, sure=sure):
            images = sorted(tree.images_below(child))
            entries += [(Item(image, child.name, None, str(image.relative_to(folder))), side) for image in images]
            if not images and side != "test":
                findings.append(_empty(tree, child))
    if not entries:
        raise InputError(f"`{folder}` has no folders with images in them, one per class.")
    names = Counter(str(item.label) for item, side in entries if side != "test")
    if not sure:
        _refuse_no_classes(folder, list(names), [root for root, _ in sides])
    findings += _of_no_class(tree, sides)
    if nested := _nested(tree, [root for root, _ in sides] or [folder]):
        value = f"{', '.join(nested[:_SHOWN])}{', …' if len(nested) > _SHOWN else ''}"
        hint = "The upper folders are the classes; give the folder that holds the lower ones if they are meant."
        findings.append(Finding("note", "class folders that hold folders", "", value, hint))
    merged, merged_sides = _merge_copies(entries)
    n_several = sum(isinstance(item.label, list) and len(item.label) > 1 for item in merged)
    if 0 < n_several < _SEVERAL * len(merged) and not several:
        # So few are mistakes, and no reason to learn several labels.
        odd = [item.origin for item in merged if len(item.label) > 1]  # type: ignore[arg-type]
        hint = "They cannot be of both classes: keep one of each, or say --task multi-label."
        findings.append(left_out("one image in several class folders", odd, n_several, hint))
        chosen = [at for at, item in enumerate(merged) if len(item.label) == 1]  # type: ignore[arg-type]
        entries = [(replace(merged[at], label=merged[at].label[0]), merged_sides[at]) for at in chosen]  # type: ignore[index]
        merged, merged_sides = [item for item, _ in entries], [side for _, side in entries]
    items, test, wrong = set_aside_test(merged, merged_sides)
    notes = []
    if len(merged) != len(entries):
        notes.append(f"{len(entries) - len(merged)} images lie in several class folders: they have several labels.")
    if tree.repeated:
        shown = ", ".join(str(one.relative_to(folder)) for one in tree.repeated[:_SHOWN])
        notes.append(f"Links to a folder that holds them are left out: {shown}.")
    kind = SingleLabel.kind if len(merged) == len(entries) else MultiLabel.kind
    return Source("class folders", kind, items, notes=tuple(notes), findings=(*findings, *wrong), test=test)


def read_plain(folder: SystemPath) -> Source:
    """Return all images of a folder as a source, without labels."""
    tree = tree_of(folder)
    return Source("images", "none", [Item(image, None, None, str(image)) for image in tree.images])


def _sides_of(tree: Tree) -> list[tuple[SystemPath, Side]]:
    """Return the folders that are sides of a split and hold images, where one is for training."""
    found = [
        (_unwrapped(tree, child), side)
        for child in tree.folders()
        if (side := side_of(child.name)) is not None and tree.holds_images(child)
    ]
    are_sides = any(tree.holds_images(inner) for root, side in found if side != "test" for inner in tree.folders(root))
    return found if are_sides and any(side != "test" for _, side in found) else []


def _unwrapped(tree: Tree, root: SystemPath) -> SystemPath:
    """Return a side's folder, or the one of the same name that is all it holds, as archives unpack."""
    inner = [child for child in tree.folders(root) if tree.holds_images(child)]
    if len(inner) == 1 and inner[0].name == root.name:
        return _unwrapped(tree, inner[0])
    return root


def _classes_below(tree: Tree, root: SystemPath, findings: list[Finding], *, sure: bool) -> list[SystemPath]:
    """Return the class folders below a root; where upper folders all hold the same ones, those are meant.

    Raises:
        InputError: some of the folders are no classes but copies, or data sets of their own.
    """
    upper = tree.folders(root)
    inner = {child: [one for one in tree.folders(child) if tree.holds_images(one)] for child in upper}
    names = {child: {one.name.lower() for one in some} for child, some in inner.items() if some}
    if sure or not names:
        return upper
    sided = [child for child in names if all(map(side_of, names[child]))]
    if sided and len(sided) == len([child for child in upper if tree.holds_images(child)]) > 1:
        shown = ", ".join(f"{child.name}/" for child in sided[:_SHOWN])
        raise InputError(f"`{root}` holds several data sets, each with its sides: {shown}. Name the one to read.")
    outer = {child.name.lower() for child in upper}
    if copies := [child for child in names if len(names[child]) > 1 and names[child] <= outer - {child.name.lower()}]:
        odd = ", ".join(f"{child.name}/" for child in copies)
        raise InputError(
            f"`{root}`: {odd} is no class: it holds folders with the names of those beside it. Give a folder that "
            "holds one set of class folders, or say --format folders if it is a class."
        )
    alike = len(names) > 1 and len({frozenset(some) for some in names.values()}) == 1 and len(min(names.values())) > 1
    if alike and len(names) == len([child for child in upper if tree.holds_images(child)]):
        value = f"{', '.join(f'{child.name}/' for child in names)}: each holds {', '.join(sorted(min(names.values())))}"
        findings.append(
            Finding("note", "folders that hold the same class folders", "", value, "The inner ones are read.")
        )
        return [one for some in inner.values() for one in some]
    return upper


def _empty(tree: Tree, child: SystemPath) -> Finding:
    others = Counter(ending_of(name) for inside in tree.below(child) for name in tree.names[inside])
    value = ", ".join(f"{n} {ending or 'without an ending'}" for ending, n in others.most_common(3)) or "nothing in it"
    return Finding("warning", "class folder without an image", str(child.relative_to(tree.root)), value)


def _of_no_class(tree: Tree, sides: Sequence[tuple[SystemPath, Side]]) -> list[Finding]:
    """Return what lies beside the class folders and is not used."""
    roots = [root for root, side in sides if side != "test"] or [tree.root]
    loose = [image.name for image in tree.images if image.parent in roots or (sides and image.parent == tree.root)]
    findings = []
    if loose:
        findings.append(left_out("image in no class folder", loose, len(loose)))
    unlabelled = [
        root for root, side in sides if side == "test" and not any(map(tree.holds_images, tree.folders(root)))
    ]
    for root in unlabelled:
        n = len(tree.images_below(root))
        findings.append(left_out("test images without a label", [f"{root.relative_to(tree.root)}/"], n, level="note"))
    if sides:
        chosen = {root for root, _ in sides} | {tree.root / root.relative_to(tree.root).parts[0] for root, _ in sides}
        beside = [child for child in tree.folders() if child not in chosen and tree.holds_images(child)]
        if beside:
            n = sum(len(tree.images_below(child)) for child in beside)
            findings.append(left_out("folder of no side", [f"{child.name}/" for child in beside], n))
    other = [name for names in tree.names.values() for name in names if ending_of(name) in _OTHER_IMAGES]
    if other:
        hint = "These formats are not read: save them as PNG or JPEG."
        findings.append(left_out("file in a format that is not read", other, len(other), hint))
    return findings


def _nested(tree: Tree, roots: Iterable[SystemPath]) -> list[str]:
    return [
        f"{child.name}/{inner.name}"
        for root in roots
        for child in tree.folders(root)
        for inner in tree.folders(child)
        if tree.holds_images(inner)
    ]


def _refuse_no_classes(folder: SystemPath, names: Sequence[str], sides: Sequence[SystemPath]) -> None:
    """Refuse folders that are no classes: one alone, or with the names of parts of a data set.

    Raises:
        InputError: they are no classes; the message says what they seem to be.
    """
    where = f"`{folder}`" + (f", below {', '.join(f'{side.name}/' for side in sides)}," if sides else "")
    odd = [name for name in names if _NO_CLASSES.fullmatch(name)]
    if any("mask" in name.lower() or "segment" in name.lower() for name in odd) and len(odd) == len(names):
        raise InputError(
            f"{where} holds {', '.join(f'{name}/' for name in names[:_SHOWN])}: masks for segmentation, which is not "
            "learned. If they are classes, say --format folders."
        )
    n_sides = sum(side_of(name) is not None for name in names)
    if not sides and n_sides and (n_sides > 1 or len(names) < _AROUND_A_SIDE):  # of three or more, one may be a train
        raise InputError(
            f"{where} holds images for sides, {', '.join(f'{name}/' for name in names[:_SHOWN])}, and no labels that "
            "were recognised: neither class folders nor annotations of a known format."
        )
    if odd:
        raise InputError(
            f"{where} holds {', '.join(f'{name}/' for name in names[:_SHOWN])}, which seem to be parts of a data set "
            f"and not classes; no annotations of a known format were found. If they are classes, say --format folders."
        )
    if len(names) == 1:
        raise InputError(
            f"{where} holds one class folder alone, {names[0]}/: a classifier needs two or more. "
            "If it is no class, give the folder that holds the class folders."
        )


def _merge_copies(entries: Sequence[tuple[Item, Side | None]]) -> tuple[list[Item], list[Side | None]]:
    """Return items and their sides, those of one name and content as one item with several labels.

    Raises:
        InputError: one image is on both sides of the split.
    """
    by_name: dict[str, list[tuple[Item, Side | None]]] = defaultdict(list)
    for item, side in entries:
        by_name[item.image.name].append((item, side))
    merged: list[tuple[Item, Side | None]] = []
    for same_name in by_name.values():
        by_content: dict[str, list[tuple[Item, Side | None]]] = defaultdict(list)
        for item, side in same_name:
            by_content[storage.file_hash(item.image) if len(same_name) > 1 else ""].append((item, side))
        for copies in by_content.values():
            first, side = copies[0]
            other = next((item for item, another in copies if another != side), None)
            if other is not None:
                raise InputError(f"{first.origin} and {other.origin} are one image on both sides of the split.")
            names = sorted({str(item.label) for item, _ in copies})
            merged.append((Item(first.image, names, None, first.origin), side))
    if len(merged) == len(entries):
        return [item for item, _ in entries], [side for _, side in entries]
    return [item for item, _ in merged], [side for _, side in merged]


def match_folders(path: SystemPath) -> Match | None:
    """Return a match for one folder per class, at the top or below each side; else None."""
    if not path.is_dir():
        return None
    tree = tree_of(path)
    sides = _sides_of(tree)
    roots = [root for root, _ in sides] or [path]
    classes = [child for root in roots for child in tree.folders(root) if tree.holds_images(child)]
    if not classes:
        return None
    shown = ", ".join(f"{child.relative_to(path)}/" for child in classes[:3])
    return Match(0.3, lambda options: _read(path, options), NO_OPTIONS, f"folders that hold images: {shown}")


def _read(path: SystemPath, options: ReadOptions) -> Source:
    return read_folders(path, sure=options.sure, several=form_of(options.task, usual="name") == "names")


def match_images(path: SystemPath) -> Match | None:
    """Return a match for a folder of images without labels; None where it holds no image."""
    if not path.is_dir() or not tree_of(path).images:
        return None
    return Match(0.1, lambda _: read_plain(path), NO_OPTIONS, "images, and no labels that were recognised")
