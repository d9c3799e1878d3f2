"""Words that the source does not use, because another word means the same there: see docs/glossary.md."""

import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "foveal"
TEXTS = {
    str(path.relative_to(SRC)): path.read_text()
    for path in sorted(SRC.rglob("*"))
    if path.suffix in {".py", ".pyi", ".js", ".html", ".css", ".txt"} and path.name != "_moved.py"
}

WORDS = {
    r"pictures?": "image",
    r"said": "a verb for what is meant: given, named, printed",
    r"judged?": "evaluated, measured, checked",
    r"wrongness": "error",
    r"doubt(?:s|ed)?": "label issue",
    r"journals?": "resume log",
    r"canvas_hw": "input_size_hw",
    r"feeds?": "batcher",
    r"heed(?:s|ed)?": "sync",
    r"dealt": "sharded, distributed",
    r"to the bit": "bit-exactly",
    r"goes on": "continues, is resumed",
    r"what came": "the result",
    r"(?-i:(?:is|are) none)": "does not exist, is empty",
    r"of the user's": "the user's",
    r"asked for": "the name of what asks",
}
"""Expressions, and what stands in their place."""

IN_A_SENSE_OF_ITS_OWN = {r"journals?": "studio/"}
"""Words that another package uses for something else, which the glossary names."""

PER = re.compile(
    r"\b(?:an?|one|two|several|more|once) (?:[\w/-]+ )?(?P<noun>[\w/-]+) an? (?:class|image|file|row|line|epoch|step)\b"
)
"""What should be "a threshold per class"."""
NOT_NOUNS = re.compile(
    "of|for|that|is|with|from|when|on|in|to|and|or|as|by|out|at|not|if|than|nor|whether|how|where|without|within|into"
    "|but|after|before|between|like|though|gives|takes|names|means|holds|shows|has|calls|makes|reads|sees|finds"
)

KEPT = {
    # Names that a user's table may have for a column.
    ("images/parquet_rows.py", "BYTES_COLUMNS"),
    ("sources/columns.py", "IMAGE_COLUMNS"),
    # What version 0.1 wrote and called so.
    ("audit/checks.py", '"pictures"'),
    ("evaluation/predictions.py", '"pictures"'),
    ("inference/manifest.py", 'alias="canvas_hw"'),
    ("cli/run_options.py", "_FORMER"),
    ("runs/settings.py", "_FORMER"),
    # Former names of attributes and options, which warn for one version.
    ("data/datasets.py", 'attribute("pictures"'),
    ("sources/items.py", 'attribute("picture"'),
    ("cli/report.py", "doubts"),
    ("evaluation/interpret.py", "method("),
}
"""(file, part of the line): exactly where one of the words stays."""


@pytest.mark.parametrize("word", WORDS)
def test_the_source_has_one_word_for_one_thing(word):
    across_lines = word.replace(" ", r"\s+(?:#\s+)?")
    there = re.compile(rf"(?i)(?<![a-z])(?:{across_lines})(?![a-z])")
    places = []
    for name, text in TEXTS.items():
        if name.startswith(IN_A_SENSE_OF_ITS_OWN.get(word, "nowhere/")):
            continue
        for match in there.finditer(text):
            line = text[: match.start()].count("\n")
            whole = text.splitlines()[line]
            if not any(name == file and part in whole for file, part in KEPT):
                places.append(f"{name}:{line + 1}: {whole.strip()}")
    assert not places, f"write `{WORDS[word]}`:\n" + "\n".join(places)


def per_phrases(text):
    """The phrases of a text such as "a threshold a class", also where a line breaks in them."""
    joined = re.sub(r"\s*\n\s*(?:#|//|\*)?\s*", " ", text)
    return [match[0] for match in PER.finditer(joined) if not NOT_NOUNS.fullmatch(match["noun"])]


def test_one_per_class_is_written_with_per():
    places = [f"{name}: {phrase}" for name, text in TEXTS.items() for phrase in per_phrases(text)]
    assert not places, "\n".join(places)
    assert per_phrases("one threshold a class") == ["one threshold a class"]
    assert per_phrases("a vector of\n    an image") == []
