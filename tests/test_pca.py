"""Principal components are scikit-learn's, as a function and as a method of a rating model's vectors."""

import copy
import io
from itertools import product

import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.core.errors import InputError
from foveal.models.pca import Vectors, pca


@pytest.mark.parametrize("shape", [(40, 6), (5, 9)])
def test_components_are_scikit_learns(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * torch.arange(1, shape[1] + 1) + 3
    ours = pca(nn.Parameter(x), 3)
    torch.testing.assert_close(ours, torch.from_numpy(PCA(3).fit_transform(x.numpy())).float(), atol=1e-4, rtol=1e-4)
    centred = x - x.mean(dim=0)
    theirs = centred @ torch.linalg.svd(centred.T, full_matrices=False).U[:, :3]
    torch.testing.assert_close(ours.abs(), theirs.abs(), atol=1e-4, rtol=1e-4)


def test_more_components_than_there_are_are_refused():
    with pytest.raises(InputError, match="2 vectors of 5 numbers have 2 components; got k=3"):
        pca(torch.rand(2, 5), 3)
    with pytest.raises(InputError, match=r"got \[5\]"):
        pca(torch.rand(5))


def test_the_vectors_of_a_rating_model_have_it_as_a_method():
    ratings = pd.DataFrame(
        [(f"u{u}", f"film {i}", (u * i) % 5 + 1) for u, i in product(range(12), range(9))],
        columns=["user", "title", "rating"],
    )
    learn = collab_learner(CollabDataLoaders.from_df(ratings, item_name="title", bs=16), n_factors=5, y_range=(0, 5.5))
    titles = ratings["title"].unique()
    vectors = learn.model.weight(titles, is_item=True)
    first, second, third = vectors.pca(3).t()
    expected = pca(torch.stack([learn.model.weight([title])[0] for title in titles]), 3)
    torch.testing.assert_close(torch.stack([first, second, third], dim=1), expected)
    torch.testing.assert_close(vectors.cpu().detach().pca(3), expected)
    assert type(vectors.pca(2)) is torch.Tensor
    copied = copy.deepcopy(vectors)
    assert isinstance(copied, Vectors)
    assert torch.equal(copied, vectors)
    file = io.BytesIO()
    torch.save(vectors.as_subclass(torch.Tensor), file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), vectors.as_subclass(torch.Tensor))
