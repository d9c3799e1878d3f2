"""What a file is that is no image foveal reads, by its first bytes, and what to do with it."""

from __future__ import annotations

import re

_CONVERT = "convert it to PNG or JPEG."
_KNOWN = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the image itself: run `git lfs pull`."),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", f"a JPEG 2000 image; {_CONVERT}"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", f"a JPEG XL image; {_CONVERT}"),
    (rb"8BPS", f"a Photoshop document; {_CONVERT}"),
    (rb".{128}DICM", f"a DICOM file; {_CONVERT}"),
    (rb"%PDF", "a PDF document; save its pages as images."),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive; unpack it."),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!", "an archive; unpack it."),
    (rb"\x00\x05\x16\x07|\x00\x05\x16\x00", "an AppleDouble file, which holds attributes of macOS and no image."),
    (rb"\s*<\?xml[^>]*>\s*(?:<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<svg|\s*<svg", f"an SVG drawing; {_CONVERT}"),
    (rb"(?i)\s*(?:<!doctype html|<html)", "an HTML page, not an image (a download that failed?)."),
    (rb"\s*<\?xml", "an XML document, not an image (a download that failed?)."),
    (rb"\s*\{\s*\"", "JSON, not an image."),
    (
        rb"PAR1",
        "a parquet table; an image in it is named by its row (`...#0`); `foveal predict --out FOLDER` takes all.",
    ),
    (rb"\x93NUMPY", "an array of NumPy, not an image file."),
    (rb"\x89HDF", "an HDF5 file, not an image."),
    (rb"SIMPLE  =", f"a FITS file; {_CONVERT}"),
    (rb"v/1\x01", f"an OpenEXR image; {_CONVERT}"),
    (rb"#\?RADIANCE|#\?RGBE", f"a Radiance HDR image; {_CONVERT}"),
    (rb".{4}ftyp(?:qt  |isom|mp4|M4V|3gp)", "a video; save its frames as images."),
    (rb"RIFF.{4}(?:AVI |WAVE)", "a video or a sound; save its frames as images."),
    (rb"\x1aE\xdf\xa3", "a video; save its frames as images."),
    (rb"\x00\x00\x01\x00", f"an icon of Windows; {_CONVERT}"),
    (rb"MZ|\x7fELF", "a program, not an image."),
    (rb"II\*\x00.{4}CR|FUJIFILMCCD-RAW|.{4}ftypcrx", f"a raw photograph; {_CONVERT}"),
    (
        rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+",
        "a TIFF of a kind that is not read, or damaged; save it in 8 or 16 bits. Four bands are read as four channels.",
    ),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", "an archive; unpack it."),
    (rb"%!PS|AT&TFORM|DDS ", f"a drawing or texture; {_CONVERT}"),
    (rb"\xd0\xcf\x11\xe0|SQLite format", "a document or a database, not an image."),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), reason) for pattern, reason in _KNOWN)
_DAMAGED = "not an image, or one whose header is damaged."
_HEAD = 1024  # bytes that are looked at


def reason_of(data: bytes) -> str:
    """Return what bytes are that no decoder takes, and what to do, as the end of a message.

    Args:
        data: of the file, not empty.
    """
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    for pattern, reason in _PATTERNS:
        if pattern.match(head):
            return reason
    if not any(data[:_HEAD]) and not any(data[-_HEAD:]):
        return "nothing but zeros: a copy or a download that failed."
    if b"\0" in head:
        return _DAMAGED
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return _DAMAGED
    return "text, not an image."
