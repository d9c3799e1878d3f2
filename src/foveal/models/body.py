"""A body: a network without its classifier, which gives a feature map or the numbers that its family pools it to.

Networks of tokens (vision transformers) keep a class token beside the tokens of patches, some pool by attention, others
normalise or convolve after pooling. What is read of a network is named by pools: `own`, what the network itself hands
to its classifier (timm's pre-logits); `class`, the class token; `mean` and `max`, of each channel over the map;
`finer`, both of them over the map of twice its size, where the network has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast, get_args, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.core import runtime
from foveal.core.errors import InputError, UnknownNameError
from foveal.images.prepare import Statistics, standardise
from foveal.models.patches import fitted_size, patch_size

Pool = Literal["own", "class", "mean", "max", "finer"]
Pooling = tuple[Pool, ...]
POOLS: tuple[Pool, ...] = get_args(Pool)
"""All that can be read, in the order in which pools stand side by side."""


class TimmNetwork(nn.Module):
    """The methods of timm's models that a body calls: a type only, for timm publishes none."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map or tokens."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, *, pre_logits: bool) -> Tensor:
        """Return what the classifier reads, [B, F], or with `pre_logits` False what it answers.

        Args:
            x: the last map or tokens.
            pre_logits: see above.
        """
        raise NotImplementedError

    def forward_intermediates(self, x: Tensor, *, output_fmt: str) -> tuple[Tensor, list[Tensor]]:
        """Return the last map or tokens, and the map of every stage.

        Args:
            x: images, float32 [B, 3, h, w].
            output_fmt: "NCHW", the form of the maps.
        """
        raise NotImplementedError


class Body(nn.Module):
    """A network without its classifier; returns a feature map [B, F, h, w], or pooled features [B, F].

    `body[-1]`, `body[:4]`, `len(body)` and iteration give the network's parts in order, as of an `nn.Sequential`; what
    comes after the map is not among them.

    Attributes:
        network: the network, most often timm's.
        n_features: channels of its last map.
        multi_scale: put the last map, stretched, beside the last one of twice its size, as spatial heads need.
        pooling: the pools that are returned side by side; the map where it is empty.
        widths: how many numbers each pool has, where there are candidates.
        has_map: whether the network's features have places; some hand on class tokens alone.
        candidates: the poolings that a probe has to choose from; none where the mean over the map is all there is.
        statistics: what the body normalises its input with; None where that is done before, by loaders with `Normalize`
            or by a predictor's preparation.
    """

    pools: Tensor

    def __init__(self, network: nn.Module, *, multi_scale: bool = False) -> None:
        super().__init__()
        self.network, self.multi_scale = cast("TimmNetwork", network), multi_scale
        self.n_features = int(getattr(network, "num_features", 0))
        self.pooling: Pooling = ()
        self.candidates: tuple[Pooling, ...] = ()
        self.widths: dict[Pool, int] = {}
        self.has_map = True
        self.statistics: Statistics | None = None
        self._unused: frozenset[str] = frozenset()
        self._patch = patch_size(network)

    def set_pooling(self, pooling: Sequence[Pool]) -> None:
        """Return these pools from now on; they are written down in a buffer, so that saved weights tell them.

        Args:
            pooling: see `Body`.

        Raises:
            UnknownNameError: there is no such pool.
        """
        for pool in pooling:
            if pool not in POOLS:
                raise UnknownNameError.of("pool of a network", pool, POOLS)
        self.pooling = tuple(pooling)
        if not pooling:
            self._buffers.pop("pools", None)
        else:
            device = next(self.network.parameters()).device
            self.register_buffer("pools", torch.tensor([pool in pooling for pool in POOLS], device=device))

    def _part_names(self) -> list[str]:
        return [name for name, _ in self.network.named_children() if name not in self._unused]

    def __len__(self) -> int:
        return len(self._part_names())

    def __iter__(self) -> Iterator[nn.Module]:
        return (self.network.get_submodule(name) for name in self._part_names())

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> nn.Sequential: ...
    def __getitem__(self, index: int | slice) -> nn.Module:
        parts = list(self)
        return nn.Sequential(*parts[index]) if isinstance(index, slice) else parts[index]

    def __setitem__(self, index: int, part: nn.Module) -> None:
        self.network.set_submodule(self._part_names()[index], part)

    def note_unused(self, image_BCHW: Tensor) -> Tensor:
        """Return the raw features of an image, and leave the network's parts that it does not need out of the body's.

        Raises:
            InputError: the network does not take the image.
        """
        used: set[str] = set()
        handles = [
            module.register_forward_pre_hook(lambda *_, name=name: used.add(name))
            for name, child in self.network.named_children()
            for module in child.modules()
        ]
        try:
            features = self.raw_features(self._fitted(image_BCHW))
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            form = " x ".join(str(n) for n in image_BCHW.shape[1:])
            made_for = (getattr(self.network, "pretrained_cfg", None) or {}).get("input_size")
            hint = f" It was made for {made_for[-2]} x {made_for[-1]} pixels." if made_for else ""
            raise InputError(
                f"The backbone does not take an image of {form}: {(str(error).splitlines() or [''])[0]}.{hint}"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        self._unused = frozenset(name for name, _ in self.network.named_children() if name not in used)
        return features

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Return the feature map, or the pools that are pooled; tokens and channels-last maps become maps."""
        image_B3HW = self.prepared(image_B3HW)
        if self.pooling:
            return self.pooled(*self.features(image_B3HW, self.pooling), image_B3HW.shape[2:])
        if not self.multi_scale:
            return self.as_map(self.raw_features(image_B3HW), image_B3HW.shape[2:])
        features, finer = self._with_finer(image_B3HW)
        last = self.as_map(features, image_B3HW.shape[2:])
        if finer is None:
            return last
        return torch.cat([finer, F.interpolate(last, finer.shape[2:], mode="bilinear", align_corners=False)], dim=1)

    def features(self, image_B3HW: Tensor, pools: Sequence[Pool]) -> tuple[Tensor, Tensor | None]:
        """Return raw features, and the map of twice the last one's size where one of the pools is read of it.

        Args:
            image_B3HW: as `prepared` returns it.
            pools: that are read.
        """
        return self._with_finer(image_B3HW) if "finer" in pools else (self.raw_features(image_B3HW), None)

    def _with_finer(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor | None]:
        features, maps_BFhw = self.network.forward_intermediates(image_B3HW, output_fmt="NCHW")
        height = self.as_map(features, image_B3HW.shape[2:]).shape[2]
        return features, next((map_BFhw for map_BFhw in reversed(maps_BFhw) if map_BFhw.shape[2] > height), None)

    def prepared(self, image_B3HW: Tensor) -> Tensor:
        """Return images as the network takes them: normalised, if that is left to the body, and of whole patches.

        Args:
            image_B3HW: float32 [B, C, H, W].

        Raises:
            InputError: they have other channels than the model.
        """
        if self.statistics is not None:
            if image_B3HW.shape[1] != len(self.statistics.mean):
                n_images, n_model = image_B3HW.shape[1], len(self.statistics.mean)
                raise InputError(
                    f"The images have {n_images} channels and the model takes {n_model}: give vision_learner "
                    f"n_in={n_images}."
                )
            image_B3HW = standardise(image_B3HW, self.statistics)
        return self._fitted(image_B3HW)

    def _fitted(self, image_B3HW: Tensor) -> Tensor:
        size_hw = (int(image_B3HW.shape[2]), int(image_B3HW.shape[3]))
        fitted = fitted_size(size_hw, self._patch)
        if fitted == size_hw:
            return image_B3HW
        return F.interpolate(image_B3HW, fitted, mode="bilinear", align_corners=False)

    def available(self, features: Tensor, size_hw: Sequence[int]) -> Pooling:
        """Return the pools that differ from each other; `own` first, where it is something of its own.

        Args:
            features: raw features of an image, for their shape.
            size_hw: (height, width) of the image in pixels.
        """
        drawn = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        drawn = drawn.to(features.device, features.dtype)
        found: Pooling = ("mean",)
        if self._has_class_token(features):
            found = ("class", *found)
        with torch.no_grad(), runtime.evaluating(self):
            try:
                own: object = self.network.forward_head(drawn, pre_logits=True)
            except (AttributeError, TypeError):  # a network of the user, with a head of another form or none
                own = None
            others = [self.pool(pool, drawn, None, size_hw) for pool in found]
        if not isinstance(own, Tensor) or own.ndim != 2:
            return found
        is_known = any(o.shape == own.shape and torch.allclose(o, own, atol=1e-5) for o in others)
        return found if is_known else ("own", *found)

    def has_places(self, features: object) -> bool:
        """Return whether raw features are a map or tokens of patches; networks without hand on class tokens alone.

        Args:
            features: of an image.
        """
        if not isinstance(features, Tensor) or not hasattr(self.network, "forward_head"):
            return not isinstance(features, list)
        return features.ndim != 3 or features.shape[1] > self._n_prefix(features)

    def read_own_alone(self, features: object) -> None:
        """Return what the network hands to its classifier, for its features have no places.

        Args:
            features: raw features of an image.
        """
        own: Any = self.network.forward_head(cast("Tensor", features), pre_logits=True)
        self.has_map, self.candidates, self.widths = False, (("own",),), {"own": own.shape[1]}
        self.set_pooling(("own",))

    def usual_pooling(self, found: Pooling) -> Pooling:
        """Return what the network itself pools to; nothing where the mean of the map is that.

        Args:
            found: what `available` returned.
        """
        if found[0] == "own":
            return ("own",)
        if found == ("mean",):
            return ()
        return ("class",) if getattr(self.network, "global_pool", "token") == "token" else ("mean",)

    def note_candidates(self, image_BCHW: Tensor, features: Tensor, found: Pooling) -> None:
        """Note what a probe has to choose from.

        Args:
            image_BCHW: an image, as `prepared` returns it.
            features: raw features of it, for their shape.
            found: what `available` returned.
        """
        size_hw, finer = image_BCHW.shape[2:], None
        if features.ndim == 4 and hasattr(self.network, "forward_intermediates"):
            _, finer = self._with_finer(image_BCHW)
        beside: list[Pooling] = [(found[0], "max", "finer")] if finer is not None else []
        if features.ndim == 3:
            beside = [(pool, "mean") for pool in found[:-1]]
        if beside or len(found) > 1:
            self.candidates = (*((pool,) for pool in found), *beside)
            pools = {pool for pooling in self.candidates for pool in pooling}
            self.widths = {pool: self.pool(pool, features, finer, size_hw).shape[1] for pool in POOLS if pool in pools}

    def pooled(self, features: Tensor, finer: Tensor | None, size_hw: Sequence[int]) -> Tensor:
        """Return the pools of the pooling side by side, [B, F].

        Args:
            features: raw features.
            finer: the map of twice the last one's size, if a pool is read of it.
            size_hw: (height, width) of the network's input in pixels.
        """
        pools = [self.pool(pool, features, finer, size_hw) for pool in self.pooling]
        return pools[0] if len(pools) == 1 else torch.cat(pools, dim=1)

    def pool(self, pool: Pool, features: Tensor, finer: Tensor | None, size_hw: Sequence[int]) -> Tensor:
        """Return one pool of the features, [B, F].

        Args:
            pool: see `POOLS`.
            features: raw features.
            finer: as for `pooled`.
            size_hw: (height, width) of the network's input in pixels.
        """
        if pool == "own":
            own: Tensor = self.network.forward_head(features, pre_logits=True)
            return own
        if pool == "class":
            return features[:, 0]
        if pool == "finer":
            assert finer is not None
            return torch.cat([finer.mean(dim=(2, 3)), finer.amax(dim=(2, 3))], dim=1)
        last = self.as_map(features, size_hw)
        return last.amax(dim=(2, 3)) if pool == "max" else last.mean(dim=(2, 3))

    def _has_class_token(self, features: Tensor) -> bool:
        return features.ndim == 3 and getattr(self.network, "cls_token", None) is not None

    def _n_prefix(self, features: Tensor) -> int:
        """Return how many tokens stand before those of patches: the class token, and registers."""
        return int(getattr(self.network, "num_prefix_tokens", self._has_class_token(features)))

    def as_map(self, features: Tensor, size_hw: Sequence[int]) -> Tensor:
        """Return raw features as a map [B, F, h, w].

        Args:
            features: a map, of either order, or tokens [B, n, F]: class and register tokens have no place in it.
            size_hw: (height, width) of the network's input in pixels, whose aspect the grid of tokens has.
        """
        if features.ndim == 3:
            tokens = features[:, self._n_prefix(features) :].transpose(1, 2)
            n_tokens = tokens.shape[2]
            height = round((n_tokens * size_hw[0] / size_hw[1]) ** 0.5)
            if height < 1 or n_tokens % height:
                return tokens.unsqueeze(-1)
            return tokens.reshape(*tokens.shape[:2], height, n_tokens // height)
        return features if features.shape[1] == self.n_features else features.permute(0, 3, 1, 2)

    def raw_features(self, image_B3HW: Tensor) -> Tensor:
        """Return what the network makes of images: a map [B, F, h, w] or [B, h, w, F], or tokens [B, n, F]."""
        whole = not hasattr(self.network, "forward_features")
        features: Tensor = self.network(image_B3HW) if whole else self.network.forward_features(image_B3HW)
        return features


def pooling_of(pools: Tensor) -> Pooling:
    """Return the pools that a body's buffer marks.

    Args:
        pools: bool, one per pool, as `Body` stores it.
    """
    return tuple(pool for pool, is_read in zip(POOLS, pools.tolist(), strict=True) if is_read)
