"""Cleaning: what is shown, what the course's cells get, and that no file changes until it is told to."""

import io
import shutil
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from foveal.core.errors import InputError, MissingDependencyError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.course.cleaner import ImageClassifierCleaner
from foveal.data.image_loaders import ImageDataLoaders
from foveal.evaluation.cleaning import Cleaning, CleaningDecision
from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.predictions import Predictions
from foveal.geometry.resize import Resize
from foveal.learner.vision import vision_learner
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from kernels import run_notebook

VOCAB = Vocab(("ant", "bee", "cat"))


def photo(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((60, 40)).save(file)


@pytest.fixture
def folder(tmp_path):
    root = Path(tmp_path / "insects")
    for at in range(12):
        photo(root / VOCAB.names[at % 3] / f"{at}.png", at)
    return root


def one_label(folder, seed=0):
    files = sorted(folder.rglob("*.png"))
    values = torch.rand(len(files), 3, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    task = SingleLabel(VOCAB)
    targets = torch.stack([task.encode(file.parent.name) for file in files])
    return Interpretation(Predictions(files, values, task.decode(values, None), targets, task))


def several(folder, seed=0):
    files = sorted(folder.rglob("*.png"))
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(len(files), 3, generator=generator)
    targets = (torch.rand(len(files), 3, generator=generator) > 0.5).float()
    targets[0, 0] = torch.nan
    task = MultiLabel(VOCAB)
    return Interpretation(Predictions(files, values, task.decode(values, None), targets, task))


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# What is shown


def test_a_class_shows_its_images_the_worst_first(folder):
    sides = {"Train": one_label(folder), "Valid": one_label(folder, seed=1)}
    cleaning = Cleaning(sides, max_n=3)
    for side, interpretation in sides.items():
        found = interpretation.predictions
        for c, name in enumerate(VOCAB.names):
            cleaning.show(side, name)
            likely = {file: -np.log(float(v[c])) for file, v in zip(found.images, found.values, strict=True)}
            own = sorted((f for f in found.images if f.parent.name == name), key=lambda f: -likely[f])
            assert cleaning.fns == own[:3]
            for candidate in cleaning.candidates:
                assert candidate.loss == pytest.approx(likely[candidate.file], rel=1e-5)
                assert candidate.label == name
                assert candidate.answer == found.labels[found.images.index(candidate.file)]
    with pytest.raises(UnknownNameError, match="Did you mean `Valid`"):
        cleaning.show("valid", "ant")
    with pytest.raises(UnknownNameError, match="no class `wasp`"):
        cleaning.show("Train", "wasp")


def test_of_several_labels_each_image_is_shown_by_the_loss_of_the_class(folder):
    cleaning = Cleaning({"Train": several(folder)})
    found = several(folder).predictions
    for c, name in enumerate(VOCAB.names):
        cleaning.show("Train", name)
        known = ~found.targets[:, c].isnan()
        loss = torch.nn.functional.binary_cross_entropy(
            found.values[:, c], found.targets[:, c].nan_to_num(), reduction="none"
        )
        order = [at for at in loss.argsort(descending=True).tolist() if known[at]]
        assert cleaning.fns == [found.images[at] for at in order]
        assert [one.loss for one in cleaning.candidates] == pytest.approx(loss[order].tolist(), rel=1e-5)
        assert len(cleaning.fns) == int(known.sum())


# What the course's cells get


def test_the_cells_of_the_course_delete_and_move(folder):
    cleaner = Cleaning({"Train": one_label(folder)})
    cleaner.show("Train", "bee")
    fns = list(cleaner.fns)
    before = contents(folder)
    cleaner.mark(0, "<Delete>")
    cleaner.mark(1, "cat")
    cleaner.mark(2, "ant")
    cleaner.mark(2, "<Keep>")
    cleaner.mark(3, "bee")  # its own label
    assert cleaner.delete() == [0]
    assert cleaner.change() == [(1, "cat")]
    assert isinstance(cleaner.delete(), L)
    assert contents(folder) == before
    for idx in cleaner.delete():
        cleaner.fns[idx].unlink()
    for idx, cat in cleaner.change():
        shutil.move(str(cleaner.fns[idx]), folder / cat)
    assert not fns[0].exists()
    assert (folder / "cat" / fns[1].name).exists()
    assert (cleaner.delete(), cleaner.change(), cleaner.decisions()) == ([], [], [])  # done
    cleaner.show("Train", "bee")
    assert cleaner.fns == fns[2:]


def test_marks_stay_while_other_classes_are_shown(folder):
    cleaning = Cleaning({"Train": one_label(folder)}, opts=["wasp"])
    marks = {"ant": "<Delete>", "bee": "wasp", "cat": "ant"}
    files = {}
    for name, mark in marks.items():
        cleaning.show("Train", name)
        cleaning.mark(1, mark)
        files[name] = cleaning.fns[1]
    for name, mark in marks.items():
        cleaning.show("Train", name)
        assert [cleaning.mark_of(at) for at in range(4)] == ["<Keep>", mark, "<Keep>", "<Keep>"]
    assert cleaning.decisions() == [
        CleaningDecision(files["ant"], "delete", "ant", "ant"),
        CleaningDecision(files["bee"], "relabel", "bee", "wasp"),
        CleaningDecision(files["cat"], "relabel", "cat", "ant"),
    ]
    with pytest.raises(UnknownNameError, match="Did you mean `wasp`"):
        cleaning.mark(0, "waspp")


def test_an_image_can_be_given_several_labels(folder):
    cleaning = Cleaning({"Train": several(folder)})
    candidate = cleaning.candidates[0]
    wanted = tuple(name for name in VOCAB.names if name not in candidate.label)
    cleaning.mark(0, wanted[::-1])
    assert cleaning.change() == [(0, wanted)]  # in the order of the classes
    cleaning.mark(0, list(candidate.label)[::-1])
    assert cleaning.change() == []
    cleaning.mark(0, ())
    assert cleaning.change() == ([(0, ())] if candidate.label else [])
    with pytest.raises(UnknownNameError, match="no label `wasp`"):
        cleaning.mark(0, ["wasp"])


# What is done when it is told to


def test_decisions_of_all_classes_are_applied_as_told(folder, tmp_path):
    cleaning = Cleaning({"Train": one_label(folder)})
    with pytest.raises(InputError, match=r"apply\(delete=True\)"):
        cleaning.apply()
    with pytest.raises(InputError, match="Nothing is marked"):
        cleaning.apply(delete=True)
    cleaning.show("Train", "ant")
    gone, moved = cleaning.fns[0], cleaning.fns[1]
    cleaning.mark(0, "<Delete>")
    cleaning.mark(1, "cat")
    before = contents(folder)
    with pytest.raises(InputError, match=r"must end in \.csv"):
        cleaning.apply(tmp_path / "x.txt", delete=True)
    decisions = cleaning.apply(tmp_path / "x.csv")
    assert contents(folder) == before
    table = pd.read_csv(tmp_path / "x.csv")
    assert table.to_dict("records") == [
        {"fname": str(gone), "action": "delete", "label": "ant", "new_label": "ant"},
        {"fname": str(moved), "action": "relabel", "label": "ant", "new_label": "cat"},
    ]
    shutil.copy(moved, folder / "cat" / moved.name)
    with pytest.raises(InputError, match="already"):
        cleaning.apply(delete=True, move=True)
    assert gone.exists()  # nothing was done
    (folder / "cat" / moved.name).unlink()
    assert cleaning.apply(delete=True, move=True) == decisions
    after = {file.relative_to(folder): None for file in (gone, moved)}
    expected = {name: data for name, data in before.items() if name not in after}
    assert contents(folder) == expected | {Path("cat") / moved.name: before[moved.relative_to(folder)]}


def test_labels_that_are_no_folders_go_to_a_table(folder, tmp_path):
    cleaning = Cleaning({"Train": several(folder)})
    at = next(at for at, one in enumerate(cleaning.candidates) if len(one.label) < 3)
    cleaning.mark(at, VOCAB.names)
    with pytest.raises(InputError, match=r"write a table"):
        cleaning.apply(move=True)
    cleaning.apply(tmp_path / "x.csv")
    (row,) = pd.read_csv(tmp_path / "x.csv", keep_default_na=False).to_dict("records")
    assert row["new_label"] == "ant bee cat"
    assert row["label"] == " ".join(cleaning.candidates[at].label)
    file = Path(folder / "ant" / "deep" / "a.png")
    photo(file, 1)
    interpretation = Interpretation(
        Predictions([file], torch.tensor([[0.2, 0.5, 0.3]]), ["bee"], torch.tensor([0]), SingleLabel(VOCAB))
    )
    deep = Cleaning({"Train": interpretation})
    deep.mark(0, "cat")
    with pytest.raises(InputError, match="does not lie in a folder of that name"):
        deep.apply(move=True)


def test_what_cannot_be_cleaned_is_refused(folder):
    points = Points(1)
    pixels = np.zeros((4, 4, 3), np.uint8)
    for interpretation, message in (
        (
            Interpretation(Predictions(["a"], torch.zeros(1, 1, 2), [[[0, 0]]], torch.zeros(1, 1, 2), points)),
            "Cleaning is for",
        ),
        (
            Interpretation(Predictions([pixels], torch.ones(1, 3) / 3, ["ant"], torch.tensor([0]), SingleLabel(VOCAB))),
            "must be files",
        ),
    ):
        with pytest.raises(InputError, match=message):
            Cleaning({"Train": interpretation})
    with pytest.raises(InputError, match="No label can be called <Keep>"):
        Cleaning({"Train": one_label(folder)}, opts=["<Keep>"])


# The widget


@pytest.fixture(scope="module")
def learn(tmp_path_factory):
    root = tmp_path_factory.mktemp("learned")
    for at in range(24):
        photo(root / VOCAB.names[at % 3] / f"{at}.png", at)
    dls = ImageDataLoaders.from_folder(root, valid_pct=0.25, seed=1, item_tfms=Resize(32), bs=6)
    return vision_learner(dls, "test_resnet", pretrained=False)


def test_the_package_is_named_where_it_is_missing(learn, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "foveal\[widgets\]"'):
        ImageClassifierCleaner(learn)


def test_the_widget_marks_what_a_person_chooses(learn):
    pytest.importorskip("ipywidgets")
    cleaner = ImageClassifierCleaner(learn, opts=["wasp"], height=20, width=30, max_n=4)
    losses = {n: Interpretation.from_learner(learn, at).predictions for at, n in enumerate(("Train", "Valid"))}
    for side, found in losses.items():
        cleaner.side.value = side
        for c, name in enumerate(VOCAB.names):
            cleaner.category.value = name
            own = [at for at in range(len(found.images)) if int(found.targets[at]) == c]
            own.sort(key=lambda at: float(found.values[at, c]))
            assert cleaner.fns == [Path(found.images[at]) for at in own[:4]]
            assert len(cleaner.images.children) == len(own[:4])
    box = cleaner.images.children[0]
    with Image.open(io.BytesIO(box.children[0].value)) as miniature:
        assert miniature.size == (30, 20)
    assert box.children[1].value == cleaner.fns[0].name
    choices = [box.children[-1] for box in cleaner.images.children]
    assert [value for _, value in choices[0].options] == ["<Keep>", "<Delete>", "ant", "bee", "wasp"]
    choices[0].value = "wasp"
    assert cleaner.change() == [(0, "wasp")]
    cleaner.category.value = "ant"
    assert cleaner.change() == []
    cleaner.category.value = "cat"
    assert cleaner.change() == [(0, "wasp")]
    assert cleaner.images.children[0].children[-1].value == "wasp"
    cleaner.images.children[0].children[-1].value = "<Keep>"
    assert cleaner.change() == []


def test_the_widget_of_several_labels(scene_loaders):
    pytest.importorskip("ipywidgets")
    cleaner = ImageClassifierCleaner(vision_learner(scene_loaders(), "test_resnet", pretrained=False), max_n=3)
    candidate = cleaner.cleaning.candidates[0]
    several, choice = cleaner.images.children[0].children[-2:]
    assert several.value == candidate.label
    wanted = tuple(label for label in cleaner.cleaning.labels if label not in candidate.label)
    several.value = wanted
    assert cleaner.change() == [(0, wanted)]
    choice.value = "<Delete>"
    assert (cleaner.delete(), cleaner.change()) == ([0], [])
    choice.value = "<Keep>"
    assert cleaner.change() == [(0, wanted)]
    several.value = candidate.label
    assert cleaner.decisions() == []


CELLS = [
    """
import numpy as np, tempfile
from PIL import Image
from foveal.vision.all import *
from foveal.course.cleaner import ImageClassifierCleaner
path = Path(tempfile.mkdtemp())
for at in range(12):
    file = path / "ab"[at % 2] / f"{at}.png"
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), at * 20, np.uint8)).save(file)
dls = ImageDataLoaders.from_folder(path, valid_pct=0.25, seed=1, item_tfms=Resize(32), bs=4)
cleaner = ImageClassifierCleaner(vision_learner(dls, 'test_resnet', pretrained=False))
""",
    "cleaner",
    """
cleaner.images.children[0].children[-1].value = '<Delete>'
for idx in cleaner.delete(): cleaner.fns[idx].unlink()
len(get_image_files(path))
""",
]


@pytest.mark.kernel
def test_a_notebook_shows_the_widget():
    pytest.importorskip("ipywidgets")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    run_notebook(notebook)
    (shown,) = notebook.cells[1].outputs
    view = shown.data["application/vnd.jupyter.widget-view+json"]
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    models = [one["model_name"] for one in state.values()]
    assert state[view["model_id"]]["model_name"] == "VBoxModel"
    assert models.count("ImageModel") >= 2
    assert models.count("DropdownModel") == 2 + models.count("ImageModel")
    assert notebook.cells[2].outputs[-1].data["text/plain"] == "11"
