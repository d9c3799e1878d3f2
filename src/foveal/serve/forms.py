"""The forms that images come in over HTTP: one as the body itself, or files of a form."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import python_multipart
from python_multipart.exceptions import FormParserError

from foveal.serve.admission import RequestRefusedError

MOST_FILES = 64
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log what senders sent
_WHOLE = "application/octet-stream"


class Upload(NamedTuple):
    """A file by the name that its sender gave it; the name is never used as a path."""

    name: str
    content: bytes


def media_type(content_type: str) -> str:
    """Return the type in a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def check_kind(content_type: str) -> None:
    """Refuse what cannot hold images before it is read.

    Raises:
        RequestRefusedError: 415.
    """
    kind = media_type(content_type)
    if not (kind in ("multipart/form-data", _WHOLE) or kind.startswith("image/")):
        raise RequestRefusedError(
            415,
            f"Send an image as the body (Content-Type image/jpeg, image/png, ... or {_WHOLE}) or files as "
            f"multipart/form-data; got {kind or 'no Content-Type'}.",
        )


def uploads_of(body: bytes, content_type: str) -> list[Upload]:
    """Return the images of a body.

    Raises:
        RequestRefusedError: 422, there are none, or the form is damaged; 413, there are too many.
    """
    if media_type(content_type) == "multipart/form-data":
        found = _files(body, content_type)
    else:
        found = [Upload("image", body)] if body else []
    if not found:
        raise RequestRefusedError(422, "There is no image in the request.")
    return found


def _files(body: bytes, content_type: str) -> list[Upload]:
    found: list[Upload] = []
    n_fields, ended = 0, False

    def keep(file: Any) -> None:
        if len(found) == MOST_FILES:
            raise RequestRefusedError(413, f"A request may hold up to {MOST_FILES} images.")
        file.file_object.seek(0)
        name = (file.file_name or b"image").decode("utf-8", "replace")
        found.append(Upload(name, file.file_object.read()))
        file.close()

    def pass_over(_: Any) -> None:
        nonlocal n_fields
        n_fields += 1
        if n_fields > MOST_FILES:
            raise RequestRefusedError(413, f"A form may hold up to {MOST_FILES} fields beside its images.")

    def end() -> None:
        nonlocal ended
        ended = True

    headers: dict[str, Any] = {"Content-Type": content_type.encode("latin-1", "replace")}
    config: dict[Any, Any] = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_BODY_SIZE": float("inf")}
    try:
        parser = python_multipart.create_form_parser(headers, pass_over, keep, config=config)
        parser.on_end = end
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, KeyError, AttributeError) as error:
        raise RequestRefusedError(422, f"The form is damaged: {error}") from error
    if not ended:
        raise RequestRefusedError(422, "The form is damaged: it does not come to its end.")
    return found
