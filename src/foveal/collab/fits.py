"""The ways to fit a model of ratings in a run: Bayesian factorisation, or epochs of gradient steps."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from foveal.collab.bayes import BURN_IN, Sampler, usual_sweeps
from foveal.collab.factors import choose_factors, usual_factors
from foveal.collab.learner import CollabLearner, collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.settings import RatingTraining
from foveal.core import progress, runtime
from foveal.core.progress import clock
from foveal.metrics.numbers import mae, rmse
from foveal.runs import folder as run
from foveal.training import checkpoint
from foveal.training.callbacks.extras import KeepBest
from foveal.training.callbacks.logs import HistoryFile, read_history, write_history
from foveal.training.checkpoint import Checkpoints
from foveal.training.state import EpochResult

_EPOCHS = 5  # as the book's chapter on collaborative filtering
_LR = 5e-3  # as the book's
_DECAY = 0.1  # as the book's
_MARGIN = 0.1  # of the range of ratings, so that the highest can be reached: the book's 5.5 for 5
_MOST_FACTORS = 50  # of gradient steps: the book's
_BATCH = 64  # rows of a step: the book's
_STEPS = 2000  # of an epoch at most, where the batch size is not given: more rows make larger batches
_NOTED = 20  # sweeps from one line of the history to the next; of a checkpoint, see `Sampler.can_pause`
EVERY_SECONDS = 30.0  # between two checkpoints of a sampler, each about the size of the model
_SHARED = 2_000_000  # ratings from which two threads sweep quicker than one, also beside other work


def batch_size(training: RatingTraining, n_rows: int) -> int:
    """Return the rows of a gradient step: those of the book, more for a large table."""
    return training.batch_size or max(_BATCH, n_rows // _STEPS)


def describe(training: RatingTraining, dls: CollabDataLoaders) -> str:
    """Return a line on what is fitted; the number of factors is in `training`."""
    factors = f"{training.factors} factor{'' if training.factors == 1 else 's'}"
    if is_sampled(training, dls):
        of = f"{factors} and biases" if training.factors else "biases of users and items alone"
        return f"Bayesian factorisation: {of}, {_sweeps(dls)} sweeps on the CPU"
    return f"product of vectors with biases, {factors}, by gradient steps of {dls.bs} on {dls.device.type}"


def is_sampled(training: RatingTraining, dls: CollabDataLoaders) -> bool:
    """Return whether a run samples: it does for ratings, unless it is told how to step."""
    return dls.task.kind == "rating" and training.steps is None


def fit(training: RatingTraining, dls: CollabDataLoaders, folder: Path, *, resume: bool) -> CollabLearner:
    """Fit a model; write its history into the run folder, and checkpoints along the way.

    Args:
        training: the settings, of `with_factors`.
        dls: the ratings.
        folder: of the run.
        resume: continue from the checkpoint in the folder.

    Returns:
        The learner with the fitted model.
    """
    if is_sampled(training, dls):
        return _sample(training, dls, folder, resume=resume)
    task = dls.task
    margin = _MARGIN * (task.high - task.low)
    y_range = (task.low - margin, task.high + margin) if task.kind == "rating" else None
    assert training.factors is not None
    learn = collab_learner(dls, training.factors, y_range=y_range, seed=training.seed)
    hooks = [KeepBest(), HistoryFile(folder / run.HISTORY), Checkpoints(folder)]
    torch.manual_seed(training.seed)
    lr, epochs = training.lr or _LR, training.epochs or _EPOCHS
    learn.fit_one_cycle(epochs, lr, wd=_DECAY, cbs=hooks, resume=folder if resume else None)
    return learn


def _sweeps(dls: CollabDataLoaders) -> int:
    return usual_sweeps(dls.train.n, len(dls.task.users) + len(dls.task.items))


def with_factors(training: RatingTraining, dls: CollabDataLoaders) -> RatingTraining:
    """Return the settings with a number of factors: the one that is given, or what the table supports."""
    if training.factors is not None:
        return training
    if is_sampled(training, dls):
        with runtime.on_threads(1):
            n_factors = choose_factors(dls.train.dataset, training.seed)
    else:
        n_factors = usual_factors(dls.train.n, len(dls.task.users) + len(dls.task.items) - 2, _MOST_FACTORS)
    return training.model_copy(update={"factors": n_factors})


def _sample(training: RatingTraining, dls: CollabDataLoaders, folder: Path, *, resume: bool) -> CollabLearner:
    train, valid, task = dls.train.dataset, dls.valid.dataset, dls.task
    assert training.factors is not None
    sweeps = _sweeps(dls)
    sampler = Sampler(train.table(), training.factors, seed=training.seed, sweeps=sweeps)
    history = _resume(sampler, folder) if resume else []
    table = progress.table(("sweep", "rmse", "mae", "time"))
    table.header()
    kept = began = time.monotonic()
    with runtime.on_threads(1 if len(train) < _SHARED else None), torch.inference_mode():
        while sampler.swept < sweeps:
            if sampler.swept % _NOTED == 0 and sampler.swept >= BURN_IN:
                table.begin(f"sweep {sampler.swept}", _NOTED)
            sampler.sweep()
            table.advance()
            # Before the first line of the history: a run that has one can be continued.
            if sampler.swept == _NOTED or (sampler.can_pause and time.monotonic() - kept > EVERY_SECONDS):
                checkpoint.write_state(folder / checkpoint.FILE, sampler.state(), {})
                kept = time.monotonic()
            if sampler.swept % _NOTED == 0 and sampler.swept > BURN_IN:
                answers = sampler.model(task).eval()(valid.inputs)[:, None]
                figures = {"rmse": float(rmse(answers, valid.targets)), "mae": float(mae(answers, valid.targets))}
                loss, now = float(task.error(answers, valid.targets)), time.monotonic()
                history.append(EpochResult(sampler.swept, sampler.noise, loss, figures, now - began))
                table.end()
                table.row([str(sampler.swept), *(f"{value:.4f}" for value in figures.values()), clock(now - began)])
                write_history(folder / run.HISTORY, history)
                began = now
    learn = CollabLearner(dls, sampler.model(task), metrics=[rmse, mae], origin="random weights")
    learn.recorder.history.extend(history)
    return learn


def _resume(sampler: Sampler, folder: Path) -> list[EpochResult]:
    """Bring a sampler where the run in a folder stopped.

    Returns:
        The history until then.
    """
    sampler.resume(checkpoint.read(folder).tensors)
    noted = read_history(folder / run.HISTORY) if (folder / run.HISTORY).is_file() else []
    return [one for one in noted if one.epoch <= sampler.swept]
