"""A model in words: its parts with shapes, parameters, what is frozen, and the memory that training takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from foveal.core import runtime
from foveal.models.vision import VisionModel

_MIB = 1 << 20
_STATE = 4  # AdamW: a weight, its gradient and two averages


def layers_table(model: nn.Module, example: Tensor) -> str:
    """Return the parts of a model, a line each, for one item that it takes."""
    parts = dict(_parts(model))
    shapes: dict[str, str] = {}
    handles = [part.register_forward_hook(_noting(shapes, name)) for name, part in parts.items()]
    try:
        with runtime.evaluating(model), runtime.saved_for_backward(model) as saved:
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    rows = [("part", "output", "parameters", "trains")]
    for name, part in parts.items():
        n = sum(p.numel() for p in part.parameters())
        rows.append((f"{name} ({type(part).__name__})", shapes.get(name, ""), f"{n:,}" if n else "", _trains(part)))
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    state = (4 * (total - trained) + 4 * _STATE * trained) / _MIB
    each = sum(saved.values()) / _MIB
    return "\n".join(
        [
            _title(model, example),
            *lines,
            f"{total:,} parameters, {trained:,} of them train",
            f"memory to train: {state:.0f} MiB for weights, gradients and averages, and {each:.1f} MiB an item",
        ]
    )


def _title(model: nn.Module, example: Tensor) -> str:
    if not isinstance(model, VisionModel):
        return type(model).__name__
    return f"{model.spec.arch}, {model.spec.head} head, images of {example.shape[2]} x {example.shape[3]}"


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the stages of the body and the layers of the head."""
    if not isinstance(model, VisionModel):
        yield from model.named_children()
        return
    for name, child in model.body.network.named_children():
        stages = list(child.named_children())
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(stages) > 1:
            yield from ((f"{name}.{at}", stage) for at, stage in stages)
        else:
            yield name, child
    yield from ((f"head.{at}", layer) for at, layer in model[1].named_children())


def _noting(shapes: dict[str, str], name: str) -> Any:
    def note(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = " x ".join(str(n) for n in output.shape[1:])

    return note


def _trains(part: nn.Module) -> str:
    states = {p.requires_grad for p in part.parameters()}
    return "" if not states else "yes" if states == {True} else "no" if states == {False} else "partly"
