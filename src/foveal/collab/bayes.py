"""Ratings by Bayesian matrix factorisation: the mean of many models drawn from what the ratings leave possible.

Salakhutdinov and Mnih 2008, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo". The vectors
of users and of items have Gaussian priors whose means and precisions are drawn too, so that nothing is tuned by hand:
where ratings are few, vectors stay near the mean. A bias is a number of the vector whose partner is 1.

All is computed in double precision on the CPU, in units of the ratings' standard deviation: the same ratings in other
units give the same model in those units. Number 0 of users and items, the unknown, has the mean of the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from foveal.collab.interactions import Groups, Interactions
from foveal.collab.loaders import RatingDataset
from foveal.collab.model import CollabSpec, EmbeddingDotBias
from foveal.collab.task import Rating
from foveal.core.errors import ModelFileError
from foveal.core.rng import generator_for

BURN_IN = 20
"""Draws that are not kept: the RMSE of a single draw falls for so long."""
MOST_FACTORS = 16
"""Of a draw. MovieLens 100k: RMSE .9050 (u1) and .9007 with 8, .9045 and .9008 with 16, in 3 and 5 s."""
_AT_ONCE = 20  # draws that are held before they are added to the mean: 20 x 16 numbers of each user and item
_RANK = 64  # of the mean: with 32 and with 400 the RMSE on MovieLens 100k is the same to 3e-4
_FEW_IDS, _LARGE = 5_000, 2_000_000  # users and items; ratings: 400 and 200 sweeps take some 10 s below both
_COMPARED_SWEEPS = 60  # biases alone need few draws: after 60 and 200 the RMSE differs by less than 1e-3
_STRENGTH = 2.0  # how many observations the prior of a mean counts as: the paper's
_FIRST = 0.1  # standard deviation of the first vectors; after the burn-in nothing is left of it


class Vectors(NamedTuple):
    """Vectors [n, K + 1] of all users, or of all items; the last number is the bias."""

    of: Tensor

    @property
    def partners(self) -> Tensor:
        """What the other side's vectors are multiplied with: the factors, and 1 for the other's bias."""
        return torch.cat([self.of[:, :-1], self.of.new_ones(len(self.of), 1)], dim=1)

    @property
    def biases(self) -> Tensor:
        """[n]."""
        return self.of[:, -1]


class Draw(NamedTuple):
    """A model, or the sum of several.

    Attributes:
        users, items: factors, [n, K], whose products are summed.
        user_biases, item_biases: [n].
    """

    users: Tensor
    items: Tensor
    user_biases: Tensor
    item_biases: Tensor


class Sampler:
    """Draws the vectors of users and items, their priors and the noise in turn.

    Attributes:
        swept: how often everything was drawn.
        mean, std: of the ratings.
    """

    def __init__(self, ratings: Interactions, n_factors: int, *, seed: int, sweeps: int) -> None:
        """Begin with small random vectors.

        Args:
            ratings: [users, items]; row and column 0 are empty.
            n_factors: K.
            seed: decides all draws.
            sweeps: how often everything will be drawn.
        """
        values = ratings.values.double()
        self.mean, self.std = float(values.mean()), float(values.std(correction=0)) or 1.0
        own = Interactions(ratings.starts, ratings.items, (values - self.mean) / self.std, ratings.n_items)
        self._tables = (own, own.transposed())
        self._groups = tuple(table.groups() for table in self._tables)
        self._seed, self._burn_in, self._precision = seed, min(BURN_IN, sweeps // 2), 1.0
        drawn = generator_for(seed, 0)
        self._sides = [
            Vectors(torch.from_numpy(_FIRST * drawn.standard_normal((n, n_factors + 1))))
            for n in (len(ratings), ratings.n_items)
        ]
        self.swept = 0
        self._draws: list[Draw] = []
        self._total = Draw(*(side.of[:, :0] for side in self._sides), *(0 * side.biases for side in self._sides))

    def sweep(self) -> None:
        """Draw everything once."""
        self.swept += 1
        squares = 0.0
        for at, table in enumerate(self._tables):
            random = generator_for(self._seed, self.swept, at)
            groups = self._groups[at]
            self._sides[at], squares = self._draw(table, groups, self._sides[at], self._sides[1 - at], random)
        n = len(self._tables[0].items)
        # The prior of the noise counts as one rating, whose variance is that of all.
        self._precision = generator_for(self._seed, self.swept, 2).gamma(1 + n / 2) / (1 + squares / 2)
        if self.swept > self._burn_in:
            self._draws.append(Draw(*(side.of[:, :-1] for side in self._sides), *(side.biases for side in self._sides)))
        if len(self._draws) == _AT_ONCE:
            self._total, self._draws = _sum(self._total, self._draws), []

    @property
    def noise(self) -> float:
        """The variance of the ratings around what the last draw answers, in their own unit."""
        return self.std**2 / self._precision

    @property
    def can_pause(self) -> bool:
        """Whether `state` is small now: no draws wait to be added to the mean."""
        return not self._draws

    def state(self) -> dict[str, Tensor]:
        """Return all that `resume` needs, where it `can_pause`."""
        tensors = {"swept": torch.tensor(self.swept), "precision": torch.tensor(self._precision, dtype=torch.float64)}
        tensors |= {name: side.of for name, side in zip(("users", "items"), self._sides, strict=True)}
        return tensors | {f"total.{name}": tensor.contiguous() for name, tensor in self._total._asdict().items()}

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the state of a sampler of the same ratings, seed and sweeps, to the same bits.

        Raises:
            ModelFileError: it is that of other ratings.
        """
        shapes = [tuple(state[name].shape) if name in state else () for name in ("users", "items")]
        if shapes != [tuple(side.of.shape) for side in self._sides]:
            raise ModelFileError("The checkpoint is of other users, items or factors: train anew.")
        self.swept, self._precision = int(state["swept"]), float(state["precision"])
        self._sides = [Vectors(state["users"]), Vectors(state["items"])]
        self._total = Draw(*(state[f"total.{name}"] for name in Draw._fields))

    def model(self, task: Rating) -> EmbeddingDotBias:
        """Return the mean of the draws after the burn-in.

        Args:
            task: whom the numbers stand for.
        """
        n_draws = max(1, self.swept - self._burn_in)
        users, items, of_users, of_items = _sum(self._total, self._draws)
        if not users.shape[1]:  # vectors of no numbers are no layers of a network
            users, items = (side.new_zeros(len(side), 1) for side in (users, items))
        rank = users.shape[1]
        spec = CollabSpec(
            len(users), len(items), (rank, rank), unit=(self.mean, self.std), limits=(task.low, task.high)
        )
        model = EmbeddingDotBias(spec, task.users, task.items)
        with torch.no_grad():
            for table, values in ((model.u_weight, users), (model.i_weight, items)):
                table.weight.copy_(values / n_draws**0.5)
            for table, values in ((model.u_bias, of_users), (model.i_bias, of_items)):
                table.weight.copy_(values[:, None] / n_draws)
        return model

    def _draw(
        self, table: Interactions, groups: Groups, own: Vectors, others: Vectors, random: np.random.Generator
    ) -> tuple[Vectors, float]:
        """Draw one side given the other.

        Returns:
            The vectors, and the sum of squared errors over all ratings.
        """
        known = table.counts > 0
        mean, precision = _draw_prior(own.of[known], random)
        residuals = table.values - others.biases[table.items]
        found = mean.expand_as(own.of).clone()
        squares = float((residuals**2).sum())
        for numbers, gram, sums in groups.grams(others.partners, residuals):
            factor = torch.linalg.cholesky(self._precision * gram + precision)
            centre = torch.cholesky_solve((self._precision * sums + precision @ mean)[:, :, None], factor)
            noise = torch.from_numpy(random.standard_normal((len(numbers), len(mean), 1)))
            drawn = centre + torch.linalg.solve_triangular(factor.mT, noise, upper=True)
            squares += float((drawn * (gram @ drawn)).sum() - 2 * (drawn[:, :, 0] * sums).sum())
            found[numbers] = torch.where(known[numbers][:, None], drawn[:, :, 0], found[numbers])
        return Vectors(found), squares


def _sum(total: Draw, draws: Sequence[Draw]) -> Draw:
    """Return a sum with some draws added; its factors are those of the nearest products of `_RANK` numbers."""
    if not draws:
        return total
    every = [total, *draws]
    users, items = (torch.cat([draw[which] for draw in every], dim=1) for which in (0, 1))
    (of_users, by_users), (of_items, by_items) = torch.linalg.qr(users), torch.linalg.qr(items)
    left, sizes, right = torch.linalg.svd(by_users @ by_items.T, full_matrices=False)
    root = sizes[:_RANK].sqrt()
    biases = (torch.stack([draw[which] for draw in every]).sum(dim=0) for which in (2, 3))
    # Of one layout, whatever the products left: what is resumed from a stored sum has the same bits.
    return Draw(
        (of_users @ left[:, :_RANK] * root).contiguous(), (of_items @ right[:_RANK].T * root).contiguous(), *biases
    )


def _draw_prior(vectors: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw the mean and the precision of the prior that some vectors [n, D] have, from its Gaussian-Wishart posterior.

    A Wishart matrix is drawn by its triangular factor (Bartlett 1933).

    Returns:
        The mean [D] and the precision [D, D].
    """
    n, size = vectors.shape
    centre = vectors.mean(dim=0)
    scatter = (vectors - centre).T @ (vectors - centre)
    shift = _STRENGTH * n / (_STRENGTH + n) * torch.outer(centre, centre)
    scale = torch.linalg.inv(torch.eye(size, dtype=torch.float64) + scatter + shift)
    factor = np.tril(random.standard_normal((size, size)), -1)
    factor[np.diag_indices(size)] = np.sqrt(random.chisquare(size + n - np.arange(size)))
    root = torch.linalg.cholesky((scale + scale.T) / 2) @ torch.from_numpy(factor)
    precision = root @ root.T
    spread = torch.linalg.cholesky((_STRENGTH + n) * precision)
    noise = torch.from_numpy(random.standard_normal((size, 1)))
    mean = n * centre / (_STRENGTH + n) + torch.linalg.solve_triangular(spread.T, noise, upper=True)[:, 0]
    return mean, precision


def usual_sweeps(n_ratings: int, n_ids: int) -> int:
    """Return how often everything is drawn: RMSE falls until 400 on MovieLens 100k, until 100 on 10 million ratings.

    Args:
        n_ratings: how many there are.
        n_ids: how many users and items, whose number a sweep's time is proportional to.
    """
    return 400 if n_ids < _FEW_IDS else 200 if n_ratings < _LARGE else 100


def sampled_answers(train: RatingDataset, pairs_N2: Tensor, n_factors: int, *, seed: int = 0) -> Tensor:
    """Return what a model of few sweeps answers, which is only compared with others, [N].

    Args:
        train: the ratings that it learns from.
        pairs_N2: of users and items, int64 [N, 2].
        n_factors: none for a model of user and item biases alone: what a model of more has to beat.
        seed: decides all draws.
    """
    sampler = Sampler(train.table(), n_factors, seed=seed, sweeps=_COMPARED_SWEEPS)
    for _ in range(_COMPARED_SWEEPS):
        sampler.sweep()
    with torch.inference_mode():
        answers: Tensor = sampler.model(train.task).eval()(pairs_N2)
    return answers
