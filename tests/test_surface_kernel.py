"""The notebook surface, form by form: the cells of `surface/`, run in a real kernel as a notebook would.

A script is cells, separated by `# %%`. What a cell must do stands below it; every `regex` is searched for.

    # Out: regex       the text of its result
    # shows: mime      exactly one of its outputs is of this kind
    # prints: regex    its standard output
    # warns: regex     its standard error, on which nothing else may appear
    # raises: regex    the error it ends in, `Name: message`
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager

from kernels import own_sockets, run_notebook

pytestmark = pytest.mark.kernel
SCRIPTS = {path.stem: path for path in sorted((Path(__file__).parent / "surface").glob("*.py"))}
SCRIPTS.pop("conftest")
EXPECTED = re.compile(r"# (Out|shows|prints|warns|raises): (.+)")


@dataclass(frozen=True)
class Cell:
    script: str
    number: int
    source: str
    expected: tuple[tuple[str, str], ...]

    def wanted(self, kind):
        return [wanted for name, wanted in self.expected if name == kind]


def read_cells(script):
    parts = re.split(r"^# %%.*\n", SCRIPTS[script].read_text(), flags=re.MULTILINE)[1:]
    for number, part in enumerate(parts):
        lines = part.strip().splitlines()
        expected = tuple(found.groups() for line in lines if (found := EXPECTED.fullmatch(line)))
        source = "\n".join(line for line in lines if not EXPECTED.fullmatch(line)).strip()
        yield Cell(script, number, source, expected)


CELLS = [cell for script in SCRIPTS for cell in read_cells(script)]


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEAL_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")  # on a busy machine the threads of a tiny model wait for each other
        yield


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A function that returns the outputs of a script's cells; each script runs once."""
    ran = {}

    def of(script):
        if script not in ran:
            cells = [nbformat.v4.new_code_cell(cell.source) for cell in CELLS if cell.script == script]
            notebook = nbformat.v4.new_notebook(cells=cells)
            run_notebook(notebook, folder=tmp_path_factory.mktemp(script), allow_errors=True)
            ran[script] = [cell.outputs for cell in notebook.cells]
        return ran[script]

    return of


def stream(shown, name):
    return "".join(one.text for one in shown if one.output_type == "stream" and one.name == name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.script}-{cell.number}")
def test_a_cell_does_what_the_book_shows(cell, outputs):
    shown = outputs(cell.script)[cell.number]
    raised = "".join(f"{one.ename}: {one.evalue}" for one in shown if one.output_type == "error")
    result = "".join(one.data["text/plain"] for one in shown if one.output_type == "execute_result")
    found = {"Out": result, "prints": stream(shown, "stdout"), "warns": stream(shown, "stderr"), "raises": raised}
    if not cell.wanted("raises"):
        assert not raised, cell.source
    if not cell.wanted("warns"):
        assert not found["warns"], cell.source
    for kind, text in found.items():
        for wanted in cell.wanted(kind):
            assert re.search(wanted, text), f"{kind} of\n{cell.source}\nshould have {wanted}\ngot {text}"
    for mime in cell.wanted("shows"):
        assert sum(mime in one.get("data", {}) for one in shown) == 1, cell.source


# What a person asks of a running kernel

SETUP = """
from foveal.vision.all import *
path = untar_data(URLs.SAMPLE_PETS)
dls = ImageDataLoaders.from_name_re(path, get_image_files(path)[::4], r'(.+)_\\d+.jpg$', item_tfms=Resize(32), bs=8)
model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8))
learn = Learner(dls, model, metrics=error_rate)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A client of a kernel that has a learner, and a function that runs code there and returns the messages."""
    manager = KernelManager(kernel_name="python3", config=own_sockets())
    manager.start_kernel(cwd=str(tmp_path_factory.mktemp("asked")))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)

    def execute(code):
        messages = []
        reply = client.execute_interactive(code, timeout=120, output_hook=messages.append, allow_stdin=False)
        assert reply["content"]["status"] == "ok", reply["content"]
        return messages, reply["content"]

    execute(SETUP)
    yield client, execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def inspected(client, code, *, detail):
    client.inspect(code, detail_level=detail)
    return plain(client.get_shell_msg(timeout=60)["content"]["data"]["text/plain"])


def test_two_question_marks_show_signature_and_source(kernel):
    client, execute = kernel
    text = inspected(client, "learn.fine_tune", detail=1)
    assert "def fine_tune(" in text
    for part in ("base_lr: float | None = None", "the book's 0.002", "self._run("):
        assert part in text
    _, reply = execute("learn.fine_tune??")
    (page,) = reply["payload"]
    assert "def fine_tune(" in plain(page["data"]["text/plain"])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("learn.fine_tune", ("epochs", "base_lr", "Train the head for `freeze_epochs`")),
        ("vision_learner", ("dls", "arch", "metrics", "Return a learner with a pretrained body, frozen")),
        ("DataBlock", ("blocks", "get_items", "splitter", "batch_tfms: more of them")),
        ("aug_transforms", ("size", "min_scale", "Return")),
        ("accuracy_multi", ("thresh", "*raw* outputs")),
        ("ImageDataLoaders.from_df", ("label_delim", "Return the loaders of a table with one row per image")),
    ],
)
def test_a_question_mark_shows_signature_and_docstring(name, parts, kernel):
    client, _ = kernel
    text = inspected(client, name, detail=0)
    for part in (*parts, "ignature:", "ocstring:"):
        assert part in text


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("learn.", {"fine_tune", "fit_one_cycle", "lr_find", "get_preds", "show_results", "recorder", "model"}),
        ("dls.", {"train", "valid", "vocab", "show_batch", "one_batch", "loss_func"}),
        ("RandomRes", {"RandomResizedCrop"}),
        ("learn.fine_tune(fre", {"freeze_epochs="}),
        ("path.", {"ls", "parent", "name"}),
    ],
)
def test_names_are_completed_at_once(code, names, kernel):
    client, _ = kernel
    seconds = []
    for _ in range(3):  # a busy machine is no reason to fail: the quickest counts
        began = time.perf_counter()
        client.complete(code)
        matches = client.get_shell_msg(timeout=60)["content"]["matches"]
        seconds.append(time.perf_counter() - began)
        assert names <= {match.rpartition(".")[2] for match in matches}
    assert min(seconds) < 3, seconds


def test_the_tables_of_a_fit_grow_in_place(kernel):
    _, execute = kernel
    messages, _ = execute("learn.fine_tune(2)")
    shown = [m["content"] for m in messages if m["msg_type"] == "display_data"]
    updates = [m["content"] for m in messages if m["msg_type"] == "update_display_data"]
    displays = [one["transient"]["display_id"] for one in shown]
    assert len(set(displays)) == 2
    for display, n_epochs in zip(displays, (1, 2), strict=True):
        drawn = [one["data"]["text/html"] for one in updates if one["transient"]["display_id"] == display]
        assert any("<progress" in html for html in drawn)
        assert [html.count("<tr>") for html in drawn] == sorted(html.count("<tr>") for html in drawn)
        assert drawn[-1].count("<tr>") == 1 + n_epochs
        assert "<progress" not in drawn[-1]
        numbers = re.findall(r"<td>([^<]*)</td>", drawn[-1])
        assert len(numbers) == 5 * n_epochs
        for at in range(n_epochs):
            row = numbers[5 * at : 5 * at + 5]
            assert row[0] == str(at)
            assert all(re.fullmatch(r"\d+\.\d{6}", number) for number in row[1:4]), row
            assert re.fullmatch(r"\d\d:\d\d", row[4])
    assert not [m for m in messages if m["msg_type"] == "stream"]
