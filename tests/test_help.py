"""The help of the command line: it fits a terminal of 80 columns, and every verb has an example and a page."""

import shlex
from pathlib import Path

import pytest

from foveal.cli import main
from foveal.cli.help import About, sections_of

DOCS = Path(__file__).parents[1]
COMMANDS = {name: command for group in main.commands().values() for name, command in group.items()}


@pytest.fixture
def foveal_help(monkeypatch, capsys):
    def call(*words, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.argv", ["foveal", *words, "--help"])
        with pytest.raises(SystemExit) as stopped:
            main.run()
        assert not stopped.value.code
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("verb", ["", *COMMANDS])
def test_help_is_plain_text_of_80_columns(verb, foveal_help):
    text = foveal_help(*verb.split())
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    for number, line in enumerate(text.splitlines()):
        assert number == 0 or not line.startswith("Usage"), "usage in one line"
    assert max(map(len, foveal_help(*verb.split(), columns=300).splitlines())) <= 110


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_ends_with_an_example_that_can_be_typed_and_a_page(verb, foveal_help):
    command = COMMANDS[verb]
    about = About.of(command.help)
    assert about.examples
    assert (DOCS / about.page).is_file()
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for example in about.examples:
        program, called, *words = shlex.split(example)
        assert (program, called) == ("foveal", verb)
        assert {word for word in words if word.startswith("-")} <= known
    lines = foveal_help(verb).splitlines()
    assert lines[-1] == f"More: {about.page}"
    assert [line.strip() for line in lines[-2 - len(about.examples) : -2]] == list(about.examples)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_says_what_it_takes_and_does(verb):
    command = COMMANDS[verb]
    for title, rows in sections_of(command, command.make_context(verb, [], resilient_parsing=True)):
        for words, text in rows:
            assert text[0].isupper() or text[0] in "'-0123456789", (title, words, text)
            assert text.endswith((".", ")")), (title, words, text)
            assert "None" not in words + text, (title, words, text)
