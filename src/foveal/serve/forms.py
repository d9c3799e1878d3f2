"""The two forms in which images come over HTTP (else 415): as the body itself, or as the files of a form."""

from __future__ import annotations

import logging
from typing import NamedTuple

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File

from foveal.serve.admission import RequestRefusedError

MAX_FILES = 64
"""Images in one request: four of the largest batches; chosen by hand."""
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log what senders sent
_ANY_BYTES = "application/octet-stream"


class Upload(NamedTuple):
    """A file under the name that its sender gave it; the name is never used as a path."""

    name: str
    content: bytes


def media_type(content_type: str) -> str:
    """Return the type in a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def check_media_type(content_type: str) -> None:
    """Refuse a body that cannot hold images before it is read.

    Raises:
        RequestRefusedError: 415.
    """
    kind = media_type(content_type)
    if not (kind in ("multipart/form-data", _ANY_BYTES) or kind.startswith("image/")):
        raise RequestRefusedError(
            415,
            f"Send an image as the body (Content-Type image/jpeg, image/png, ... or {_ANY_BYTES}) or files as "
            f"multipart/form-data; got {kind or 'no Content-Type'}.",
        )


def parse_uploads(body: bytes, content_type: str) -> list[Upload]:
    """Return the images of a body.

    Args:
        body: of the request.
        content_type: its Content-Type, with the boundary of a form.

    Raises:
        RequestRefusedError: 422, it holds no image, or the form is damaged; 413, there are too many.
    """
    if media_type(content_type) == "multipart/form-data":
        uploads = _parse_form(body, content_type)
    else:
        uploads = [Upload("image", body)] if body else []
    if not uploads:
        raise RequestRefusedError(422, "There is no image in the request.")
    return uploads


def _parse_form(body: bytes, content_type: str) -> list[Upload]:
    uploads: list[Upload] = []
    n_fields, has_ended = 0, False

    def add_file(file: File) -> None:
        if len(uploads) == MAX_FILES:
            raise RequestRefusedError(413, f"A request may hold up to {MAX_FILES} images.")
        file.file_object.seek(0)
        name = (file.file_name or b"image").decode("utf-8", "replace")
        uploads.append(Upload(name, file.file_object.read()))
        file.close()

    def skip_field(_: Field) -> None:
        nonlocal n_fields
        n_fields += 1
        if n_fields > MAX_FILES:
            raise RequestRefusedError(413, f"A form may hold up to {MAX_FILES} fields beside its images.")

    def end() -> None:
        nonlocal has_ended
        has_ended = True

    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    # Files stay in memory (the body is there already), and the parser adds no limit to that of the service.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_BODY_SIZE": float("inf")}
    try:
        parser = python_multipart.create_form_parser(headers, skip_field, add_file, config=config)
        parser.on_end = end
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, KeyError, AttributeError) as error:
        raise RequestRefusedError(422, f"The form is damaged: {error}") from error
    if not has_ended:
        raise RequestRefusedError(422, "The form is damaged: it does not come to its end.")
    return uploads
