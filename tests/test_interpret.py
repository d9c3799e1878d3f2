"""Interpretation and the report: what is said of predictions is what they are."""

import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from foveal.core.errors import InputError, UnknownNameError
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.evaluation.interpret import ClassificationInterpretation, Interpretation
from foveal.evaluation.label_issues import LabelIssue
from foveal.evaluation.predictions import Predictions
from foveal.geometry.resize import Resize
from foveal.images.canvas import Canvas
from foveal.learner.vision import vision_learner
from foveal.models.explain import grad_cam
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import CategoryBlock, SingleLabel
from foveal.tasks.vocab import Vocab

VOCAB = Vocab(("ant", "bee", "cat"))


@pytest.fixture(autouse=True)
def _figures():
    yield
    plt.close("all")


def one_label(answers, truths, confidence=0.8):
    rest = (1 - confidence) / 2
    values = torch.full((len(answers), 3), rest)
    for row, answer in enumerate(answers):
        values[row, answer] = confidence
    task = SingleLabel(VOCAB)
    labels = [VOCAB.names[a] for a in answers]
    names = [f"{i}.jpg" for i in range(len(answers))]
    return Interpretation(Predictions(names, values, labels, torch.tensor(truths), task))


def several(values, truths, thresholds=(0.5, 0.5, 0.5)):
    task = MultiLabel(VOCAB, Decision(thresholds))
    values = torch.tensor(values)
    names = [f"{i}.jpg" for i in range(len(values))]
    return Interpretation(Predictions(names, values, task.decode(values, None), torch.tensor(truths), task))


def test_confusions_of_one_label():
    interp = one_label([0, 1, 1, 2, 1], [0, 0, 0, 2, 2])
    assert interp.most_confused() == [("ant", "bee", 2), ("cat", "bee", 1)]
    assert interp.most_confused(min_val=2) == [("ant", "bee", 2)]
    assert all(type(n) is int for *_, n in interp.most_confused())
    assert interp.confusion_matrix().tolist() == [[1, 2, 0], [0, 0, 0], [0, 1, 1]]
    interp.plot_confusion_matrix(figsize=(12, 12), dpi=60)
    figure = plt.gcf()
    assert tuple(figure.get_size_inches()) == (12, 12)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1", "1", "2"]


def test_confusions_of_several_labels_are_tables_and_pairs():
    interp = several(
        [[0.9, 0.1, 0.1], [0.2, 0.8, 0.1], [0.2, 0.9, 0.9]],
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, torch.nan]],
    )
    assert interp.most_confused() == [("ant", "bee", 2)]
    tables = interp.confusion_matrix()
    assert tables[0].tolist() == [[0, 0], [2, 1]]  # absent: nothing; there: two missed, one found
    assert tables[1].tolist() == [[1, 2], [0, 0]]
    assert tables[2].sum() == 2  # the unknown one is left out
    interp.plot_confusion_matrix()
    assert len([axes for axes in plt.gcf().axes if axes.texts]) == 3
    with pytest.raises(InputError, match=r"is for tasks of .*single-label.*; this task is points"):
        Interpretation(Predictions([], torch.zeros(0), [], torch.zeros(0), Points(1))).most_confused()


def test_the_worst_answers_come_first():
    interp = one_label([0, 1, 2], [0, 0, 2])
    values, where = interp.top_losses(1)
    assert where == [1]
    assert float(values[0]) == pytest.approx(-np.log(0.1), rel=1e-5)
    points = Predictions(
        ["a", "b"],
        torch.zeros(2, 1, 2),
        [np.array([[3.0, 4.0]]), np.array([[0.0, 1.0]])],
        torch.zeros(2, 1, 2, dtype=torch.float64),
        Points(1),
    )
    values, where = Interpretation(points).top_losses()
    assert where == [0, 1]
    assert values.tolist() == [5.0, 1.0]


def test_a_planted_label_error_is_found_first():
    rng = torch.Generator().manual_seed(0)
    truths = torch.randint(0, 3, (60,), generator=rng).tolist()
    interp = one_label(truths, truths)
    assert interp.label_issues() == []
    assert interp.wrong_labels().value < 0.1
    wrong = [*truths]
    wrong[7] = (truths[7] + 1) % 3
    interp = one_label(truths, wrong, confidence=0.998)
    (doubt,) = interp.label_issues()
    assert doubt[:3] == LabelIssue("7.jpg", VOCAB.names[wrong[7]], VOCAB.names[truths[7]], 0)[:3]
    assert interp.label_issues(1, least=0) == [doubt]
    assert len(interp.label_issues(least=0)) == 60
    expected = interp.wrong_labels()
    assert 0 <= expected.low <= expected.value <= expected.high < 30
    truth = torch.randint(0, 2, (60, 3), generator=rng).float()
    values = (truth * 0.995 + 0.001 + 0.002 * torch.rand(60, 3, generator=rng)).tolist()
    truth[3, 0], truth[4, 1] = 1 - truth[3, 0], 1 - truth[4, 1]
    found = {(one.image, one.given or one.suggested) for one in several(values, truth.tolist()).label_issues()}
    assert found == {("3.jpg", "ant"), ("4.jpg", "bee")}


def test_whose_labels_are_wrong():
    rng = torch.Generator().manual_seed(0)
    truths = torch.randint(0, 3, (90,), generator=rng).tolist()
    given = [(truth + 1) % 3 if at % 2 and at % 5 == 0 else truth for at, truth in enumerate(truths)]
    interp = one_label(truths, given, confidence=0.998)
    found = interp.wrong_labels_by(["careful", "hasty"] * 45)
    assert found["careful"] < 0.5
    assert found["hasty"] == pytest.approx(9, abs=1)
    with pytest.raises(InputError, match="One value per image is expected, 90; got 2"):
        interp.wrong_labels_by(["a", "b"])


def test_slices_are_worst_first():
    interp = one_label([0, 1, 2, 0], [0, 0, 2, 0])
    assert interp.slices(["a", "a", "b", "b"]) == [("a", 2, 0.5), ("b", 2, 1.0)]
    assert interp.slices(["a", "a", "b", "b"], "error_rate")[0] == ("a", 2, 0.5)
    with pytest.raises(UnknownNameError, match="There is no metric `accuracyy`. Did you mean `accuracy`?"):
        interp.slices(["a", "a", "b", "b"], "accuracyy")
    with pytest.raises(InputError, match="One value per image is expected, 4; got 2"):
        interp.slices(["a", "b"])


def test_grad_cam_looks_where_the_class_is():
    """A body that passes the image on and a linear head that reads one channel: the map is that channel."""
    from foveal.models.head import linear_head
    from foveal.models.vision import Body, ModelSpec, VisionModel

    class Passing(torch.nn.Module):
        num_features = 3

        def forward_features(self, x):
            return x

    head = linear_head(3, 2)
    with torch.no_grad():
        head[1].weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))
    model = VisionModel(Body(Passing()), head, ModelSpec("x", 2, (4, 5)))
    image = torch.rand(2, 3, 4, 5)
    cam = grad_cam(model, image, 0)
    np.testing.assert_allclose(cam, (image[:, 0] / image[:, 0].amax(dim=(1, 2), keepdim=True)).numpy(), rtol=1e-5)
    assert not grad_cam(model, image, 1).any()  # nothing speaks for it


class Checked(HTMLParser):
    """Collects tags, and whatever would be fetched."""

    def __init__(self):
        super().__init__()
        self.tags, self.fetched = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetched += [v for k, v in attributes if k in {"src", "href"} and not v.startswith("data:")]


def test_the_report_stands_alone_and_names_are_inert(scene_loaders, tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    dls = scene_loaders(
        target=CategoryBlock, bs=8, get_y=lambda r: hostile if "sun" in r["labels"] else "no sun & nothing"
    )
    learn = vision_learner(dls, "tf_efficientnet_lite0", head="linear")
    learn.recorder.silent = True
    learn.probe()
    text = learn.report(tmp_path / "r.html").read_text()
    page = Checked()
    page.feed(text)
    assert not page.fetched
    assert "script" not in page.tags
    assert hostile not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert len(text) < 5_000_000
    for part in ("How well it works", "Each of the classes", "What is confused", "What the model looked at"):
        assert part in text
    value = re.search(r"<td>accuracy</td><td class=\"number\">([\d.]+)</td>", text)
    assert float(value[1]) == pytest.approx(learn.validate()[1], abs=6e-4)
    plain = learn.report(tmp_path / "p.html", images=False).read_text()
    assert "image/jpeg" not in plain
    assert "The answers that are most wrong" not in plain
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_top_losses(4)
    assert len([axes for axes in plt.gcf().axes if axes.images]) == 4
    learn.explain(dls.valid.dataset.images[0], hostile)
    assert plt.gcf().axes[0].texts[0].get_text() == hostile
    with pytest.raises(UnknownNameError, match="no sun"):
        learn.explain(dls.valid.dataset.images[0], "no sun & nothin")
    assert any("accuracy" in line for line in interp.report_lines())


def test_points_are_explained_by_their_heatmap(scene_loaders, tmp_path):
    learn = vision_learner(scene_loaders(points=True, bs=4, size=96), "test_resnet", pretrained=False, head="spatial")
    learn.recorder.silent = True
    learn.probe()
    learn.explain(learn.dls.valid.dataset.images[0])
    text = learn.report(tmp_path / "r.html").read_text()
    assert "median error pixels" in text
    assert "What is confused" not in text
    assert isinstance(Canvas(plt.gcf().axes[0]), Canvas)


def test_precision_by_recall_ends_at_what_the_definition_says():
    interp = several([[0.9, 0.1, 0.6], [0.8, 0.2, 0.1], [0.3, 0.9, 0.2]], [[1.0, 0, 0], [0, 0, 0], [1, 1, 0]])
    interp.plot_precision_recall()
    figure = plt.gcf()
    ant, bee, cat = figure.axes[:3]
    assert ant.lines[0].get_xdata().tolist() == pytest.approx([0, 0.5, 0.5, 1])
    assert ant.lines[0].get_ydata().tolist() == pytest.approx([1, 1, 0.5, 2 / 3])
    assert [float(ant.lines[1].get_xdata()[0]), float(ant.lines[1].get_ydata()[0])] == pytest.approx([0.5, 0.5])
    assert len(bee.lines) == 2
    assert not cat.lines  # no image has it
    with pytest.raises(InputError, match="is for tasks of multi-label"):
        one_label([0], [0]).plot_precision_recall()


def test_a_table_of_no_label_issues_has_its_header(tmp_path):
    interp = one_label([0, 1, 2], [0, 1, 2])
    assert interp.export_label_issues(tmp_path / "none.csv") == 0
    assert (tmp_path / "none.csv").read_text() == "fname,given,suggested,confidence\n"
    assert interp.export_label_issues(tmp_path / "none.json") == 0


@pytest.mark.parametrize("values", [(False, True), (0, 5), (0.5, 2.0)])
def test_labels_in_question_are_values_of_the_vocab(values, tmp_path):
    truths = [0, 1] * 30
    given = [1 - truth if at == 8 else truth for at, truth in enumerate(truths)]
    probability = torch.tensor([[0.998 - 0.996 * truth, 0.002 + 0.996 * truth] for truth in truths])
    task, names = SingleLabel(Vocab(values)), [f"{at}.jpg" for at in range(60)]
    labels = [values[truth] for truth in truths]
    interp = Interpretation(Predictions(names, probability, labels, torch.tensor(given), task))
    (issue,) = interp.label_issues()
    assert (issue.given, issue.suggested, 1) == interp.most_confused()[0] == (values[1], values[0], 1)
    assert type(issue.given) is type(values[0])
    assert str(issue).startswith(f"{values[1]}, or {values[0]}? (")
    several_of = MultiLabel(Vocab(values))
    truth = torch.eye(2)[truths]
    truth[8], truth[9] = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])
    issues = Interpretation(
        Predictions(names, probability, several_of.decode(probability, None), truth, several_of)
    ).label_issues()
    assert {one[:3] for one in issues} == {("8.jpg", values[1], ""), ("9.jpg", "", values[1])}
    assert {str(one)[:-7] for one in issues} == {f"no {values[1]}?", f"{values[1]} missing?"}
    assert interp.export_label_issues(tmp_path / "issues.parquet") == 1
    assert pd.read_parquet(tmp_path / "issues.parquet")["given"].tolist() == [str(values[1])]


def test_a_label_to_explain_is_a_value_of_the_vocab_or_its_name(scenes):
    files = sorted((scenes / "scenes").iterdir())[:8]
    for values, absent in (((False, True), "Truw"), ((3, 14), 15)):
        block = DataBlock(
            (ImageBlock, CategoryBlock(vocab=values)),
            get_y=lambda f, v=values: v[files.index(f) % 2],
            item_tfms=Resize(32),
        )
        learn = vision_learner(block.dataloaders(files, bs=4), "test_resnet", pretrained=False)
        for label in (values[1], str(values[1]), np.asarray(values[1])[()]):
            learn.explain(files[0], label)
            assert plt.gcf().axes[0].texts[0].get_text() == str(values[1])
        with pytest.raises(UnknownNameError, match=f"There is no label `{absent}`.*Known: {values[0]}, {values[1]}"):
            learn.explain(files[0], absent)
