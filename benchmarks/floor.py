"""Seconds of forward, backward and step alone, on batches that are there: no loader, no loop can be under them.

    python benchmarks/floor.py

The book's recipe with EfficientNet-Lite0 at 128 px, as in against_fastai.py, in single precision, channels last, the
best of several steps.
"""

import time

import torch

from foveal.core import runtime
from foveal.models.vision import ModelSpec, build_model
from foveal.training.groups import Freeze, apply_freeze, set_training
from foveal.training.optim import build_optimizer

SIZE = 128
SETS = {  # training and validation images, batch, frozen epochs, epochs, outputs
    "pets": (296, 74, 32, 1, 3, 37),
    "heads": (600, 200, 32, 1, 3, 2),
    "voc": (740, 200, 64, 4, 3, 20),
}


def best(times, action):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken)


def floor(n_train, n_valid, bs, frozen_epochs, epochs, n_outputs):
    device = runtime.default_device()
    model = runtime.to_device(build_model(ModelSpec("tf_efficientnet_lite0", n_outputs, (SIZE, SIZE))), device)
    x = torch.randn(bs, 3, SIZE, SIZE, device=device).to(memory_format=torch.channels_last)
    total = 0.0
    with runtime.keeping_memory():
        for freeze, n_epochs in ((Freeze(2), frozen_epochs), (Freeze(), epochs)):
            apply_freeze(model, freeze)
            set_training(model, freeze)
            optimizer = build_optimizer(model, [1e-3] * 3)

            def step(optimizer=optimizer):
                model(x).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
                runtime.wait_for(device)

            total += best(5, step) * (n_train // bs) * n_epochs
        model.eval()
        with torch.no_grad():
            total += best(4, lambda: (model(x), runtime.wait_for(device))) * n_valid / bs * (frozen_epochs + epochs)
    return total


if __name__ == "__main__":
    for name, about in SETS.items():
        print(f"{name}: {floor(*about):.1f} s")
