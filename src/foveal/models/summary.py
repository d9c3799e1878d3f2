"""A model in words: its parts with shapes, parameters, what is frozen, and the memory that training takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn

from foveal.core import runtime
from foveal.models.vision import VisionModel

_OWN = ""
"""Stands for the parameters that are in none of the model's parts; of one layer these are all."""
_MIB = 1 << 20
"""Bytes."""
_NUMBER_BYTES = 4
"""Bytes of one number in fp32."""
_NUMBERS_PER_WEIGHT = 4
"""What AdamW keeps of a weight that trains: itself, its gradient and two averages."""


def layers_table(model: nn.Module, example: Tensor) -> str:
    """Return a model's layers as a table, one line each, with the memory that training takes.

    Args:
        model: of one input.
        example: a batch of one item; of images float32 [1, 3, h, w].
    """
    parts = dict(_stages(model))
    shapes: dict[str, str] = {}
    noted = {**parts, _OWN: model}
    handles = [part.register_forward_hook(_shape_recorder(shapes, name)) for name, part in noted.items()]
    try:
        with runtime.evaluating(model), runtime.saved_for_backward(model) as saved:
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    rows = [("part", "output", "parameters", "trains")]
    in_parts = {id(p) for part in parts.values() for p in part.parameters()}
    parameters = {name: list(part.parameters()) for name, part in parts.items()}
    own = [p for p in model.parameters() if id(p) not in in_parts]
    if own or not parts:
        parameters[_OWN] = own
    for name, some in parameters.items():
        n, kind = sum(p.numel() for p in some), type(noted[name]).__name__
        rows.append((f"{name or 'own'} ({kind})", shapes.get(name, ""), f"{n:,}" if n else "", _trains(some)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    state = _NUMBER_BYTES * (total - trained + _NUMBERS_PER_WEIGHT * trained) / _MIB
    each = sum(saved.values()) / _MIB
    return "\n".join(
        [
            _title(model, example),
            *lines,
            f"{total:,} parameters, {trained:,} of them train",
            f"memory to train: {state:.0f} MiB for weights, gradients and averages, and {each:.1f} MiB per item",
        ]
    )


def _title(model: nn.Module, example: Tensor) -> str:
    if not isinstance(model, VisionModel):
        return type(model).__name__
    return f"{model.spec.arch}, {model.spec.head} head, images of {example.shape[2]} x {example.shape[3]}"


def _stages(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the stages of the body and the layers of the head."""
    if not isinstance(model, VisionModel):
        yield from model.named_children()
        return
    for name, child in model.body.network.named_children():
        stages = list(child.named_children())
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(stages) > 1:
            yield from ((f"{name}.{number}", stage) for number, stage in stages)
        else:
            yield name, child
    yield from ((f"head.{number}", layer) for number, layer in model[1].named_children())


def _shape_recorder(shapes: dict[str, str], name: str) -> Callable[[nn.Module, object, object], None]:
    """Return a forward hook that notes the shape of a layer's output, without the batch."""

    def record(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = " x ".join(str(n) for n in output.shape[1:])

    return record


def _trains(parameters: Iterable[nn.Parameter]) -> str:
    states = {p.requires_grad for p in parameters}
    return "" if not states else "yes" if states == {True} else "no" if states == {False} else "partly"
