"""The rows of the speed table as the book writes them, with fastai."""

import warnings

warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from common import (  # noqa: E402
    BS,
    WORKERS,
    main,
    mean_ap,
    median_of_images,
    median_seconds,
    per_image,
    read_seconds,
    seconds_of,
    step_seconds,
)
from fastai.vision.all import (  # noqa: E402
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    MultiCategoryBlock,
    Normalize,
    PointBlock,
    RandomResizedCrop,
    RandomSplitter,
    Resize,
    aug_transforms,
    load_learner,
    set_seed,
    vision_learner,
)
from torchvision.models import resnet18, resnet50  # noqa: E402

HALF = ([0.5] * 3, [0.5] * 3)
RESNETS = {"resnet18": resnet18, "resnet50": resnet50}


def voc(data, item_tfms, table="voc.csv"):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=item_tfms,
        batch_tfms=[Normalize.from_stats(*HALF)],
    )
    return block.dataloaders(pd.read_csv(data / table), bs=BS, num_workers=WORKERS)


def learner(data, arch, size=128):
    dls = voc(data, RandomResizedCrop(int(size), min_scale=0.35))
    if arch in RESNETS:
        learn = vision_learner(dls, RESNETS[arch], pretrained=False, normalize=False)
    else:
        learn = vision_learner(dls, arch, pretrained=False, normalize=False)
        model = timm.create_model(arch, pretrained=False)
        if arch == "tf_efficientnet_lite0":
            model.load_state_dict(torch.load(data / "lite0.pth", weights_only=True))
        own = learn.model[0].model.state_dict()
        learn.model[0].model.load_state_dict({k: v for k, v in model.state_dict().items() if k in own})
    learn.freeze()
    return learn


def quiet(learn, action):
    with learn.no_bar(), learn.no_logging():
        return seconds_of(action)


def loader(data):
    dls = voc(data, RandomResizedCrop(128, min_scale=0.35), "large.csv")
    return per_image(lambda: (batch[0] for batch in dls.train))


def points(data):
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=ColReader("fname"),
        get_y=lambda r: [r["x"], r["y"]],
        splitter=ColSplitter(),
        batch_tfms=[*aug_transforms(size=(240, 320)), Normalize.from_stats(*HALF)],
    )
    dls = block.dataloaders(pd.read_csv(data / "points.csv"), bs=BS, num_workers=WORKERS)
    return per_image(lambda: (batch[0] for batch in dls.train))


def epoch(data, arch, state, size=128, precision=""):
    learn = learner(data, arch, size)
    if precision == "fp16":
        learn.to_fp16()
    if state == "unfrozen":
        learn.unfreeze()
    quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3))
    return quiet(learn, lambda: learn.fit_one_cycle(1, 1e-3))


def fine_tune(data, arch, seed=0):
    set_seed(int(seed))
    learn = learner(data, arch)
    seconds = quiet(learn, lambda: learn.fine_tune(3, 3e-3, freeze_epochs=4))
    with learn.no_bar():
        values, targets = learn.get_preds()
    return {"seconds": seconds, "score": mean_ap(values, targets)}


def get_preds(data):
    learn = learner(data, "resnet50")
    with learn.no_bar():
        learn.get_preds()
        return median_seconds(learn.get_preds, 3) / len(learn.dls.valid_ds)


def optimizer(data):
    learn = learner(data, "resnet50")
    learn.unfreeze()
    learn.create_opt()
    return step_seconds(learn.model, learn.opt.step)


def one(data):
    file = data / "fastai.pkl"
    if not file.exists():
        learn = learner(data, "tf_efficientnet_lite0")
        learn.export(file)
    learn = load_learner(file)
    with learn.no_bar():
        return median_of_images(learn.predict, data)


def table(data, n, what="rows"):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=RandomSplitter(seed=0),
        item_tfms=Resize(128),
    )
    return read_seconds(block, pd.read_csv(data / f"rows-{n}.csv"), every_target if what == "targets" else None)


def every_target(dls):
    return [target for side in (dls.train_ds, dls.valid_ds) for target in side.tls[1]]


def collab(data, n=100_000, bs=64):
    from fastai.collab import TabularCollab, collab_learner
    from fastai.tabular.all import Categorify, L, TransformBlock

    frame = pd.read_csv(data / f"ratings-{n}.csv")
    splits = (L(frame.index[frame.valid == 0].tolist()), L(frame.index[frame.valid == 1].tolist()))
    to = TabularCollab(
        frame[["user", "item", "rating"]], [Categorify], ["user", "item"], y_names=["rating"],
        y_block=TransformBlock(), splits=splits,
    )  # fmt: skip
    dls = to.dataloaders(bs=int(bs))
    dls.classes = to.classes
    learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
    return quiet(learn, lambda: learn.fit_one_cycle(1, 5e-3, wd=0.1))


if __name__ == "__main__":
    main({
        "loader": loader, "points": points, "epoch": epoch, "fine_tune": fine_tune, "get_preds": get_preds,
        "optimizer": optimizer, "one": one, "table": table, "collab": collab,
    })  # fmt: skip
