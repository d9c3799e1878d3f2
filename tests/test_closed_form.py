"""The linear head in closed form: solving without a row and looking at that row are the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from foveal.training.probes import closed_form
from foveal.training.probes.axes import principal_axes
from foveal.training.probes.closed_form import ridge_fit, suits

N, WIDTH, CLASSES = 24, 40, 3


def drawn():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=rng)
    return centres[labels] + torch.randn(N, WIDTH, generator=rng), labels


@pytest.mark.parametrize("width", [10, 40])
def test_axes_are_a_rotation(width):
    features = torch.randn(N, width, generator=torch.Generator().manual_seed(0))
    features -= features.mean(dim=0)
    along, axes, spread = principal_axes(features)
    torch.testing.assert_close(along @ axes, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(along.square().mean(dim=0), spread, rtol=1e-4, atol=1e-4)


def test_scores_of_images_left_out_are_those_of_a_fit_without_them(monkeypatch):
    """What scale and shift are fitted to is what a regression answers that never saw the image."""
    features, labels = drawn()
    seen = []

    def note(score, targets, rate, loss):
        seen.append(score)
        return (torch.ones(CLASSES), torch.zeros(CLASSES)), float(len(seen))

    monkeypatch.setattr(closed_form, "_scale_and_shift", note)
    ridge_fit(features, labels, F.cross_entropy, CLASSES)
    strength = closed_form.STRENGTHS[0]
    standard = (features - features.mean(dim=0)) / features.std(dim=0, unbiased=False)
    rate = F.one_hot(labels, CLASSES).float().mean(dim=0)
    wanted = F.one_hot(labels, CLASSES).float() - rate
    for image in (0, 7, 23):
        rows = torch.arange(N) != image
        # The penalty counts rows, and so does the mean that is subtracted: both are those of the whole.
        augmented = torch.cat([standard, torch.ones(N, 1)], dim=1)
        penalty = torch.diag(torch.cat([torch.full((WIDTH,), N * strength), torch.zeros(1)]))
        gram = augmented[rows].T @ augmented[rows] + penalty
        weight = torch.linalg.solve(gram, augmented[rows].T @ wanted[rows])
        expected = augmented[image] @ weight + rate
        torch.testing.assert_close(seen[0][image], expected, rtol=1e-3, atol=1e-4)


def test_the_layer_is_scikit_learns_ridge_scaled_and_shifted():
    features, labels = drawn()
    fit = ridge_fit(features, labels, F.cross_entropy, CLASSES)
    plain = features.numpy()
    standard = (plain - plain.mean(axis=0)) / plain.std(axis=0)
    theirs = Ridge(alpha=fit.strength * N).fit(standard, np.eye(CLASSES)[labels.numpy()]).predict(standard)
    ours = fit.layer(features).detach().numpy()
    for one in range(CLASSES):
        assert np.corrcoef(ours[:, one], theirs[:, one])[0, 1] > 0.99999
    slopes = [np.polyfit(theirs[:, one], ours[:, one], 1)[0] for one in range(CLASSES)]
    assert np.ptp(slopes) < 1e-3 * np.mean(slopes)  # one scale for all classes of which one is right
    assert slopes[0] > 0


def test_probabilities_are_those_of_images_left_out():
    """On noise nothing is learned, and the answer is the classes' rates; no image convinces by its own label."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(60, 200, generator=rng)
    labels = (torch.rand(60, 4, generator=rng) < torch.tensor([0.5, 0.2, 0.1, 0.0])).float()
    loss = F.binary_cross_entropy_with_logits
    fit = ridge_fit(features, labels, loss, 4)
    answers = fit.layer(torch.randn(500, 200, generator=rng)).sigmoid().detach()
    torch.testing.assert_close(answers.mean(dim=0)[:3], labels.mean(dim=0)[:3], rtol=0.4, atol=0.06)
    assert answers[:, 3].max() < 0.05  # a class without an example
    assert answers.isfinite().all()
    assert fit.loss < 1.1 * float(loss(torch.logit(labels.mean(dim=0).clamp(1e-3)).expand(60, 4), labels))


def test_what_it_is_for():
    shape = (N, WIDTH)
    assert suits(torch.arange(N), shape)
    assert suits(torch.ones(N, 2), shape)
    assert not suits(torch.rand(N, 2), shape)  # numbers
    unknown = torch.ones(N, 2)
    unknown[0, 0] = torch.nan
    assert not suits(unknown, shape)
    assert not suits(torch.arange(2), (2, WIDTH))
    assert not suits(torch.arange(5000), (5000, 4000))
