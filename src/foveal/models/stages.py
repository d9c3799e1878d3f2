"""The stages of a network, and its two halves, which are trained at rates of their own."""

from __future__ import annotations

from torch import nn

_STAGES = ("blocks", "stages", "layers", "features", "dense_stages")
"""What the families of timm call the list of their stages or blocks."""


def halves(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return a network cut at the middle of its stages: what comes before them is in the early half, what follows late.

    Args:
        network: without its classifier.
    """
    children = {name: child for name, child in network.named_children() if any(True for _ in child.parameters())}
    if "layer1" in children:
        late_names = {"layer3", "layer4"}
        early = [child for name, child in children.items() if name not in late_names]
        return early, [child for name, child in children.items() if name in late_names]
    parts: dict[str, nn.Module] = {}
    known = [name for name in children if name in _STAGES and _has_parts(children[name])]
    for name, child in children.items():
        is_list = name in known if known else _has_parts(child)
        parts |= {f"{name}.{n}": stage for n, stage in child.named_children()} if is_list else {name: child}
    stages = [name for name in parts if "." in name] or list(parts)
    cut = list(parts).index(stages[len(stages) // 2])
    return list(parts.values())[:cut], list(parts.values())[cut:]


def _has_parts(child: nn.Module) -> bool:
    return isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1
