"""What a notebook shows, in a real kernel."""

import nbformat
import pytest

from kernels import run_notebook

pytestmark = pytest.mark.kernel
SETUP = """
from foveal.vision.all import *
from foveal.sources.synthetic import write_scenes
import tempfile
path = Path(tempfile.mkdtemp())
write_scenes(path, n=40)
df = pd.read_csv(path/'scenes.csv', keep_default_na=False)
dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), get_x=ColReader('fname', pref=path/'scenes'),
                   get_y=ColReader('labels', label_delim=' '), splitter=ColSplitter(), item_tfms=Resize(48))
dls = dblock.dataloaders(df, bs=8)
learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics=partial(accuracy_multi, thresh=0.2))
"""


@pytest.fixture(scope="module")
def outputs():
    """The outputs of some cells, in a kernel of this Python."""
    cells = [
        SETUP,
        "learn.fine_tune(2, 1e-3)",
        "learn.recorder.plot_loss()",
        "dls.show_batch(max_n=4)",
        "learn.lr_find()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    run_notebook(notebook)
    return {cell.source: cell.outputs for cell in notebook.cells}


def test_nothing_goes_to_stderr(outputs):
    said = [one for cell in outputs.values() for one in cell if one.output_type == "stream" and one.name == "stderr"]
    assert not said, said


def test_each_fit_shows_one_table_that_was_updated_in_place(outputs):
    shown = [one for one in outputs["learn.fine_tune(2, 1e-3)"] if "text/html" in one.get("data", {})]
    assert len(shown) == 2
    for table, n_epochs in zip(shown, (1, 2), strict=True):
        html = table.data["text/html"]
        assert html.count("<tr>") == 1 + n_epochs
        for name in ("epoch", "train_loss", "valid_loss", "accuracy_multi", "time"):
            assert f"<th>{name}</th>" in html
        assert "<progress" not in html


@pytest.mark.parametrize("cell", ["learn.recorder.plot_loss()", "dls.show_batch(max_n=4)", "learn.lr_find()"])
def test_images_appear(outputs, cell):
    assert sum("image/png" in one.get("data", {}) for one in outputs[cell]) == 1


def test_the_finder_prints_what_it_suggests(outputs):
    said = [one.data["text/plain"] for one in outputs["learn.lr_find()"] if one.output_type == "execute_result"]
    assert said
    assert said[0].startswith("SuggestedLRs(valley=")
