"""The parts of written pages: text is escaped, HTML of the parts is not, and the wheel holds the templates."""

import importlib.resources
import math

import numpy as np
import pytest
from markupsafe import Markup

from foveal.core.formats import format_number
from foveal.reporting import page

HOSTILE = "<img src=x onerror=\"alert('1')\">"
PIXELS = np.zeros((4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "part",
    [
        lambda text: page.page(text, [text]),
        lambda text: page.opening(text, text),
        lambda text: page.section(text, text, level=text),
        page.paragraph,
        page.code,
        lambda text: page.table([text], [[text]]),
        lambda text: page.image(PIXELS, text),
        lambda text: page.drawing(b"", text),
        page.missing_image,
        lambda text: page.gallery([text]),
    ],
)
def test_text_is_escaped_and_markup_is_kept(part):
    assert isinstance(part(HOSTILE), Markup)
    assert "<img src=x" not in part(HOSTILE)
    assert "&lt;img src=x" in part(HOSTILE)
    kept = Markup("<b>bold</b>")
    assert kept in part(kept)


def test_parts_nest_without_being_escaped_again():
    inner = page.table(["a & b"], [["<i>"]])
    whole = page.page("t", [page.section("s", inner, page.gallery([page.image(PIXELS, "x")]))])
    assert inner in whole
    assert whole.count("&amp;") == 1
    assert whole.count("data:image/jpeg;base64,") == 1
    assert whole.startswith("<!DOCTYPE html>")
    assert page.STYLE.strip() in whole


def test_numbers_stand_to_the_right_and_booleans_are_text():
    shown = page.table(["n", "name", "yes"], [[1.5, "a", True]])
    assert '<th class="number">n</th><th>name</th><th>yes</th>' in shown
    assert '<td class="number">1.500</td><td>a</td><td>True</td>' in shown


def test_every_template_is_in_the_package():
    names = {file.name for file in importlib.resources.files("foveal.reporting").joinpath("templates").iterdir()}
    assert {"page.html", "section.html", "table.html", "figure.html", "style.css"} <= names


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (None, 3, "not defined"),
        (math.nan, 3, "not defined"),
        (math.inf, 3, "inf"),
        (123_456_789, 3, "123456789"),
        (0.98765, 4, "0.9877"),
        (9.99, 3, "9.990"),
        (10.0, 3, "10.0"),
        (-0.0004, 3, "-0.0004"),
        (1e6, 3, "1e+06"),
    ],
)
def test_numbers_have_one_format(value, digits, shown):
    assert format_number(value, digits) == shown
    assert page.number is format_number
