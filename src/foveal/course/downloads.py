"""Images from a list of addresses, as the course collects a data set: bounded, resumable, each failure named."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.parse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path as SystemPath

from foveal.core import progress, threads
from foveal.core.download import Limits, download
from foveal.core.errors import FetchError, ImageError, InputError
from foveal.core.listing import L, Path
from foveal.images.decode import open_image
from foveal.sources.tree import ending_of, is_image_name

_MAX_BYTES = 64 << 20  # of one image; chosen by hand: a photograph of 100 megapixels has about 40 MiB
_MIN_SECONDS = 60  # that one image may take; chosen by hand
_LONGEST_NAME = 100  # characters
_LONGEST_SHOWN = 200  # characters of an address: one that holds its image, `data:...`, has thousands
_AGAIN = " The next try continues from there."  # not here: what an image lacks is fetched with the rest
_ENDINGS = {"JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic", "PPM": ".ppm", "DIB": ".bmp"}


def download_images(
    dest: str | os.PathLike[str],
    url_file: str | os.PathLike[str] | None = None,
    urls: Iterable[str] | None = None,
    max_pics: int = 1000,
    n_workers: int = 8,
    timeout: float = 4,
    preserve_filename: bool = False,
) -> L[Path]:
    """Download images from anywhere into a folder.

    What an earlier call has fetched is not fetched again. A file that is no image of a format that foveal reads is not
    kept; one that is damaged is, and `verify_images` finds it. What fails does not stop the rest: one summary at the
    end names each address and what was wrong.

    Args:
        dest: the folder.
        url_file: a text file with one address per line; or
        urls: the addresses. The same one twice is fetched once.
        max_pics: only the first so many.
        n_workers: how many are fetched at a time.
        timeout: seconds without a byte after which an address is given up; ten times that, or a minute, for all of it.
        preserve_filename: name files as their addresses do; by default by a hash of the address.

    Returns:
        The files that are there now, in the order of the addresses.

    Raises:
        InputError: neither or both of `urls` and `url_file` are given, or a number is not above 0.

    Examples:
        What is there already needs no network.

        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8)).save(f"{folder}/cat.jpg")
        ...     len(download_images(folder, urls=["https://example.org/cat.jpg"], preserve_filename=True))
        /...: 1 images, 1 of them from before.
        1
    """
    for name, number in (("max_pics", max_pics), ("n_workers", n_workers), ("timeout", timeout)):
        if not number > 0:
            raise InputError(f"`{name}` must be above 0, got {number!r}.")
    addresses = _addresses(url_file, urls)
    wanted = addresses[:max_pics]
    folder = SystemPath(dest)
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(wanted, preserve_filename=preserve_filename)
    there = {file.stem: file for file in folder.iterdir() if is_image_name(file.name)}
    limits = Limits(_MAX_BYTES, timeout, max(_MIN_SECONDS, 10 * timeout))
    with (
        tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as beside,
        progress.Bar(f"fetching to {folder.name}", len(wanted)) as bar,
    ):

        def fetch(address: str) -> SystemPath | str:
            name = names[address]
            if name in there:
                return there[name]
            try:
                return _fetch(address, SystemPath(beside) / name, folder, limits)
            except (FetchError, ImageError, OSError, ValueError) as error:
                reason = error.reason if isinstance(error, ImageError) else str(error).removeprefix(f"{address} ")
                return f"{address[:_LONGEST_SHOWN]}: {reason.removesuffix(_AGAIN)[:_LONGEST_SHOWN]}"

        results: list[SystemPath | str] = []
        for result in threads.ordered_map(fetch, wanted, num_workers=n_workers):
            results.append(result)
            bar.advance()
    files = [result for result in results if not isinstance(result, str)]
    failures = [result for result in results if isinstance(result, str)]
    lines = [f"{folder}: {len(files)} images, {len(set(files) & set(there.values()))} of them from before."]
    if len(wanted) < len(addresses):
        lines.append(f"{len(addresses) - len(wanted)} addresses more than max_pics={max_pics} were left out.")
    if failures:
        lines += [f"{len(failures)} of {len(wanted)} addresses gave no image:", *failures]
    progress.say("\n".join(lines))
    return L([Path(file) for file in files])


def download_url(
    url: str,
    dest: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    show_progress: bool = True,
) -> Path:
    """Download one file of at most 1 GiB, whatever it is, and replace `dest` once it is whole.

    Args:
        url: an http or https address.
        dest: the file, or a folder that is there; by default the current folder, under the name in the address.
        timeout: seconds without a byte after which it is given up; 20 by default.
        show_progress: whether to show a bar on a terminal.

    Returns:
        The path of the file.

    Raises:
        FetchError: it could not be fetched.
        InputError: the address has no name to call the file by.

    Examples:
        >>> from foveal.vision.all import *
        >>> download_url("https://example.org/")
        Traceback (most recent call last):
        foveal.core.errors.InputError: https://example.org/ has no name for a file: give `dest`.
    """
    target = SystemPath("." if dest is None else dest)
    if target.is_dir():
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).replace("\\", "/").rsplit("/", 1)[-1]
        if not name.strip(". "):
            raise InputError(f"{url} has no name for a file: give `dest`.")
        target /= name
    target.parent.mkdir(parents=True, exist_ok=True)
    limits = Limits() if timeout is None else Limits(silence=timeout)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.parent) as beside:
        part = SystemPath(beside) / "file"
        if show_progress:
            with progress.Bar(f"fetching {target.name}", 0) as bar:
                download(url, part, None, limits=limits, advance=bar.advance)
        else:
            download(url, part, None, limits=limits)
        part.replace(target)
    return Path(target)


def _addresses(url_file: str | os.PathLike[str] | None, urls: Iterable[str] | None) -> list[str]:
    """Return the addresses, each once.

    Raises:
        InputError: neither or both are given, or the file is no text.
    """
    if (url_file is None) == (urls is None):
        raise InputError("`download_images` takes a list `urls=` or a text file `url_file=`, one of the two.")
    if urls is None:
        assert url_file is not None
        try:
            urls = SystemPath(url_file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"`{url_file}` is no text file of addresses ({error}).") from error
    elif isinstance(urls, str):
        urls = [urls]
    return list(dict.fromkeys(stripped for address in urls if (stripped := str(address).strip())))


def _names(addresses: list[str], *, preserve_filename: bool) -> dict[str, str]:
    """Return the name of each address' file, without its ending: the same for every call."""
    hashes = {address: hashlib.sha256(address.encode()).hexdigest()[:16] for address in addresses}
    if not preserve_filename:
        return hashes
    own = {address: _own_name(address) for address in addresses}
    times = Counter(own.values())
    return {
        address: name if name and times[name] == 1 else "-".join(filter(None, (name, hashes[address][:8])))
        for address, name in own.items()
    }


def _own_name(address: str) -> str:
    last = urllib.parse.unquote(urllib.parse.urlsplit(address).path).replace("\\", "/").rsplit("/", 1)[-1]
    stem = last[: -len(ending_of(last))] if is_image_name(last) else last
    return re.sub(r"[^\w.() -]", "_", stem).strip(". ")[:_LONGEST_NAME]


def _fetch(address: str, part: SystemPath, folder: SystemPath, limits: Limits) -> SystemPath:
    """Return the file that an image was downloaded to; its ending is that of its format, whatever the address says.

    Raises:
        FetchError: the network failed, or the file is too large.
        ImageError: it is no image that foveal reads.
    """
    download(address, part, None, limits=limits)
    opened = open_image(part)
    part.replace(target := folder / f"{part.name}{_ENDINGS.get(opened.format, f'.{opened.format.lower()}')}")
    return target
