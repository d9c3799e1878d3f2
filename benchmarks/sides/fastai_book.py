"""The peer: fastai's own way through the book's recipe, with the same backbone, data, split and seed.

Runs in an environment of its own that holds fastai and timm; prints one JSON line.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("table", type=Path)
parser.add_argument("--task", choices=("multi-label", "single-label", "points"), required=True)
parser.add_argument("--images", type=Path, required=True)
parser.add_argument("--weights", type=Path, required=True, help="of tf_efficientnet_lite0, under timm's names")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--freeze-epochs", type=int, default=4)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--batch-size", type=int, default=64)
args = parser.parse_args()

warnings.filterwarnings("ignore")
began = time.perf_counter()

import pandas as pd  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from common import mean_ap  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    CategoryBlock,
    DataBlock,
    Flip,
    ImageBlock,
    MultiCategoryBlock,
    Normalize,
    PointBlock,
    RandomResizedCrop,
    Resize,
    aug_transforms,
    set_seed,
    vision_learner,
)

frame = pd.read_csv(args.table)
set_seed(args.seed, reproducible=False)
crop = RandomResizedCrop(args.size, min_scale=0.5)
TASKS = {
    "multi-label": (MultiCategoryBlock, lambda r: r["labels"].split(" "), crop, [Flip()]),
    "single-label": (CategoryBlock, lambda r: r["label"], crop, [Flip()]),
    "points": (PointBlock, lambda r: [r["cx"], r["cy"]], Resize(args.size, method="squish"), aug_transforms()),
}
target, get_y, item_tfms, batch_tfms = TASKS[args.task]
block = DataBlock(
    blocks=(ImageBlock, target),
    get_x=lambda r: args.images / r["fname"],
    get_y=get_y,
    splitter=lambda df: (df.index[~df["is_valid"]].tolist(), df.index[df["is_valid"]].tolist()),
    item_tfms=item_tfms,
    batch_tfms=[*batch_tfms, Normalize.from_stats([0.5] * 3, [0.5] * 3)],
)
dls = block.dataloaders(frame, bs=args.batch_size, num_workers=2)
points = {"y_range": (-1, 1)} if args.task == "points" else {}
learn = vision_learner(dls, "tf_efficientnet_lite0", pretrained=False, normalize=False, **points)
model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
model.load_state_dict(torch.load(args.weights, weights_only=True))
own = learn.model[0].model.state_dict()
learn.model[0].model.load_state_dict({k: v for k, v in model.state_dict().items() if k in own})
learn.freeze()
with learn.no_bar():
    trained = time.perf_counter()
    learn.fine_tune(args.epochs, args.lr, freeze_epochs=args.freeze_epochs)
    fine_tune_seconds = time.perf_counter() - trained
    preds, targs = learn.get_preds()
    valid_loss = learn.validate()[0]
result = {"fine_tune_seconds": fine_tune_seconds, "valid_loss": float(valid_loss)}
if args.task == "multi-label":
    result["score"] = mean_ap(preds, targs)
elif args.task == "single-label":
    result["score"] = float((preds.argmax(dim=1) == targs).float().mean())
else:
    result["score"] = -float(((preds - targs.reshape(preds.shape)) ** 2).mean())
print()
print(json.dumps(result | {"seconds": time.perf_counter() - began}))
