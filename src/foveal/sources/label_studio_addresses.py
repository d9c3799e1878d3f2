"""What an address in a task of Label Studio can mean as a path."""

from __future__ import annotations

import re
from urllib.parse import unquote

_UPLOAD = re.compile(r"[0-9a-f]{8}-")


def readings(address: str) -> tuple[str, ...]:
    """Return what an address in a task can mean as a path, the likeliest first.

    Label Studio writes uploads with eight hexadecimal digits before their name, files of its own disk behind `?d=`, and
    addresses of stores; characters may be quoted once, twice or not at all.

    Args:
        address: as the task holds it.

    >>> readings("/data/upload/3/1a2b3c4d-cat.jpg")[:2]
    ('/data/upload/3/1a2b3c4d-cat.jpg', '1a2b3c4d-cat.jpg')
    """
    text = address.partition("?d=")[2] or address
    if "?d=" not in address and "://" in text:
        place = re.sub(r"^[a-z0-9+]+://", "", text, flags=re.IGNORECASE)
        forms = [place, place.partition("?")[0]]
    elif "?d=" in address:
        forms = [text, text.partition("&")[0]]
    else:
        forms = [text, text.partition("?")[0]]
    found: list[str] = []
    for form in forms:
        quoted = (form, unquote(form), unquote(unquote(form)))
        for one in (quoted[1], quoted[0], quoted[2]):
            found += [one, one.replace("\\", "/").rstrip("/").rpartition("/")[2]]
    found = [one.replace("\\", "/").lstrip("/") if at else one for at, one in enumerate(found)]
    names = [one.rpartition("/")[2] for one in found]
    is_upload = "upload" in address  # elsewhere eight digits may be a date
    found += [name[9:] for name in names if _UPLOAD.match(name) and (is_upload or not name[:8].isdigit())]
    return tuple(dict.fromkeys(one for one in found if one))
