"""The steps before a model of images as ONNX: decoded pixels of any size in, the model's input out.

They are those of `images.prepare` in the same order and with the same rounding: means of whole squares, the part that
is seen, smoothing or means by area, then one bilinear sampling. What `geometry.resample_pure` does in whole numbers is
done in whole numbers here too, so that the pixels are the same, and not nearly the same. Maps of `Resize` keep the
axes, so each step is done along the rows and along the columns, by matrices of weights that the graph makes itself.

Names end in what they are along: `n` pixels of a side, `side` of the input. Scalars are float64 and int64.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnxscript import GraphBuilder

from foveal.geometry.pixels import PadMode
from foveal.geometry.resample_pure import CENTRE, ONE
from foveal.geometry.resize import Resize, ResizeMethod
from foveal.geometry.warp import ACROSS, DOWN, MARGIN, MIN_GAUSSIAN_SCALE, REACH, SIGMA

# 1/128 of a pixel: less half the step in which `resample_pure` has positions when it cuts them off to whole numbers.
# Sizes of powers of two put every position on a whole number.
_CENTRE = CENTRE - 2.0**-23
_FLOAT, _DOUBLE, _UINT8 = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.UINT8
_INT64 = ir.DataType.INT64

Value = Any
"""A value of the graph: `ir.Value`, whose operators add nodes."""


@dataclass(frozen=True, slots=True)
class OnAxis:
    """Where the pixels along an axis lie.

    Attributes:
        scale: of the map from the image to the input.
        shift: of the same, in pixels of the input.
    """

    scale: Value
    shift: Value


@dataclass(frozen=True, slots=True)
class ImageGraph:
    """The values that the steps end in.

    Attributes:
        pixels: uint8 [1, h, w, C], the model's input before normalisation.
        x: the map along the columns.
        y: the map along the rows.
    """

    pixels: Value
    x: OnAxis
    y: OnAxis


@contextlib.contextmanager
def arithmetic(op: Any) -> Iterator[None]:
    """Let the operators of values add nodes in the block.

    Args:
        op: of a `GraphBuilder`.
    """
    before = ir.set_value_magic_handler(op)
    try:
        yield
    finally:
        ir.set_value_magic_handler(before)


def take_decoded_images(file: Path, fit: Resize, about: Mapping[str, object], *, in_image: bool) -> None:
    """Write an ONNX file anew: for one decoded image, instead of a batch of images of the input's size.

    Args:
        file: input uint8 [B, h, w, C], output [B, ...] and maybe others [B]; then input `image`, uint8 [H, W, C],
            output [...] and the others as numbers.
        fit: how an image comes to the input's size.
        about: the description, which becomes the metadata `foveal`.
        in_image: whether the answers are points, [B, N, 2] from -1 to 1 on the input, which are then brought to pixels
            of the image.
    """
    model = ir.load(file)
    graph = model.graph
    (batch,), (answers, *others) = graph.inputs, graph.outputs
    assert batch.shape is not None
    image = ir.val("image", dtype=_UINT8, shape=ir.Shape(["height", "width", batch.shape[3]]))
    builder = GraphBuilder(graph)
    steps = add_preparation(builder, image, fit)
    ir.convenience.replace_all_uses_with(batch, steps.pixels)
    graph.inputs.clear()
    graph.inputs.append(image)
    op: Any = builder.op
    with arithmetic(op):
        one = op.Squeeze(answers, [0])
        if in_image:
            one = _in_image(op, one, steps, fit.input_size_hw)
        beside = [(other, op.Squeeze(other, [0])) for other in others]
    answers.name, one.name = "answers_of_batch", "answers"
    one.dtype, one.shape = _FLOAT, ir.Shape(list(answers.shape or ())[1:])
    graph.outputs.clear()
    graph.outputs.append(one)
    for of_batch, of_one in beside:
        of_batch.name, of_one.name = f"{of_batch.name}_of_batch", of_batch.name
        of_one.dtype, of_one.shape = _FLOAT, ir.Shape([])
        graph.outputs.append(of_one)
    graph.sort()
    model.metadata_props["foveal"] = json.dumps(about)
    ir.save(model, file)


def _in_image(op: Any, points: Value, steps: ImageGraph, sides: tuple[int, int]) -> Value:
    """Return points [N, 2] in pixels of the image, of those from -1 to 1 on the input."""
    height, width = map(float, sides)
    in_input = (op.Cast(points, to=_DOUBLE) + 1.0) * 0.5 * op.Constant(value=ir.tensor([width, height], dtype=_DOUBLE))
    shift, scale = (
        op.Concat(*(op.Unsqueeze(one, [0]) for one in pair), axis=0)
        for pair in ((steps.x.shift, steps.y.shift), (steps.x.scale, steps.y.scale))
    )
    return op.Cast((in_input - shift) / scale, to=_FLOAT)


def add_preparation(builder: GraphBuilder, image: Value, fit: Resize) -> ImageGraph:
    """Add the steps from an image to the model's input to a graph.

    Args:
        builder: of the graph.
        image: uint8 [H, W, C], upright.
        fit: how it comes to the input's size.

    Returns:
        The input that the steps lead to, uint8 [1, h, w, C], and the maps of both axes.
    """
    op: Any = builder.op
    with arithmetic(op):
        shape = op.Shape(image)
        sides_yx = fit.input_size_hw
        whole = [_side(op, shape, at) for at in (0, 1)]
        y, x = _maps(op, whole, sides_yx, fit.method)
        factor = _factor(op, op.Max(y.scale, x.scale))
        reduced = _means_of_squares(op, image, shape, factor)
        seen = _part(op, reduced, (y, x), factor, sides_yx)
        smoothed = _smoothed(op, seen)
        small = _by_area(op, smoothed, seen)
        pixels = _sampled(op, small, seen, sides_yx, fit.pad_mode)
        return ImageGraph(op.Unsqueeze(op.Cast(pixels, to=_UINT8), [0]), x, y)


def _side(op: Any, shape: Value, at: int) -> Value:
    """Return one of the numbers of a shape."""
    return op.Squeeze(op.Slice(shape, [at], [at + 1]), [0])


def _maps(op: Any, whole: list[Value], sides: tuple[int, int], method: ResizeMethod) -> list[OnAxis]:
    """Return the map of `Resize` along y and x, without chance."""
    sizes = [op.Cast(n, to=_DOUBLE) for n in whole]
    scales = [float(side) / n for side, n in zip(sides, sizes, strict=True)]
    if method == "crop":
        scales = [op.Max(*scales)] * 2
    elif method == "pad":
        scales = [op.Min(*scales)] * 2
    elif method == "cut":
        scales = [n * 0.0 + 1.0 for n in sizes]
    shifts = [(float(side) - n * scale) * 0.5 for side, n, scale in zip(sides, sizes, scales, strict=True)]
    if method == "cut":
        shifts = [op.Round(shift) for shift in shifts]
    return [OnAxis(scale, shift) for scale, shift in zip(scales, shifts, strict=True)]


def _factor(op: Any, scale: Value) -> Value:
    """Return by how much an image is reduced: 1, 2, 4 or 8; see `decode.reduction_factor`."""
    steps = [op.Cast(op.LessOrEqual(scale * float(factor), 1.0), to=_INT64) * (factor // 2) for factor in (2, 4, 8)]
    return steps[0] + steps[1] + steps[2] + 1


def _means_of_squares(op: Any, image: Value, shape: Value, factor: Value) -> Value:
    """Return the means of whole squares, float32 of whole numbers [H, W, C]; see `decode.means_of_squares`."""
    size, channels = op.Slice(shape, [0], [2]), op.Slice(shape, [2], [3])
    beyond = op.Mod(-size, factor)
    pads = op.Concat([0, 0, 0], beyond, [0], axis=0)
    filled = op.Cast(op.Pad(image, pads, mode="edge"), to=_FLOAT)
    down, across = (op.Slice((size + beyond) / factor, [at], [at + 1]) for at in (0, 1))
    factor_1 = op.Unsqueeze(factor, [0])
    squares = op.Reshape(filled, op.Concat(down, factor_1, across, factor_1, channels, axis=0))
    n = op.Cast(factor * factor, to=_FLOAT)
    means = op.ReduceSum(squares, [1, 3], keepdims=0) / n
    # Of 2 x 2 a half goes up, of more it goes to the even number: OpenCV's two ways.
    return op.Where(op.Equal(factor, 2), op.Floor(means + 0.5), op.Round(means))


@dataclass(frozen=True, slots=True)
class _SeenAlong:
    """What the input sees of an image along an axis.

    Attributes:
        n: pixels of the part.
        scale: of the map from the part to the input.
        start: where the input begins, in the part's pixels.
        n_new: pixels that are left where the part is reduced by area.
    """

    n: Value
    scale: Value
    start: Value
    n_new: Value


@dataclass(frozen=True, slots=True)
class _Seen:
    """The part that the input sees, float32 [H, W, C]; along y and x; and how it loses detail: 0 or 1 each."""

    pixels: Value
    yx: tuple[_SeenAlong, _SeenAlong]
    is_smoothed: Value
    is_by_area: Value


def _part(op: Any, reduced: Value, maps: tuple[OnAxis, OnAxis], factor: Value, sides: tuple[int, int]) -> _Seen:
    """Return the part of an image that the input can see; see `warp._seen`."""
    size, factor_f = op.Shape(reduced), op.Cast(factor, to=_DOUBLE)
    along, inside = [], None
    for at, (one, side) in enumerate(zip(maps, sides, strict=True)):
        n, scale = _side(op, size, at), one.scale * factor_f
        first = -one.shift / scale
        last = first + float(side) / scale
        is_inside = op.And(op.GreaterOrEqual(first, 0.0), op.LessOrEqual(last, op.Cast(n, to=_DOUBLE)))
        inside = is_inside if inside is None else op.And(inside, is_inside)
        along.append((n, scale, first, last))
    starts, stops, parts = [], [], []
    for n, scale, first, last in along:
        margin = op.Max(1.0 / scale, 1.0) * float(MARGIN)
        start = op.Where(inside, op.Max(op.Cast(op.Floor(first - margin), to=_INT64), 0), 0)
        stop = op.Where(inside, op.Min(op.Cast(op.Floor(last + margin), to=_INT64) + 1, n), n)
        n_seen = stop - start
        n_new = op.Max(_rounded(op, op.Cast(n_seen, to=_DOUBLE) * op.Min(scale, 1.0)), 1)
        parts.append(_SeenAlong(n_seen, scale, first - op.Cast(start, to=_DOUBLE), n_new))
        starts.append(op.Unsqueeze(start, [0]))
        stops.append(op.Unsqueeze(stop, [0]))
    pixels = op.Slice(reduced, op.Concat(*starts, axis=0), op.Concat(*stops, axis=0), [0, 1])
    y, x = parts
    is_same = op.And(op.Equal(y.n_new, y.n), op.Equal(x.n_new, x.n))
    leaves_rest = op.Greater(op.Add(op.Mod(y.n, y.n_new), op.Mod(x.n, x.n_new)), 0)
    is_gaussian = op.And(op.Greater(op.Min(y.scale, x.scale), MIN_GAUSSIAN_SCALE), leaves_rest)
    is_other = op.Not(is_same)
    is_smoothed, is_by_area = op.And(is_other, is_gaussian), op.And(is_other, op.Not(is_gaussian))
    return _Seen(pixels, (y, x), is_smoothed, is_by_area)


def _rounded(op: Any, value: Value) -> Value:
    return op.Cast(op.Round(value), to=_INT64)


def _smoothed(op: Any, seen: _Seen) -> Value:
    """Return the part smoothed in whole numbers, down the columns and along the rows; see `resample_pure.smooth`."""
    y, x = seen.yx
    down_1, down_2 = _weights(op, y.scale, seen.is_smoothed, DOWN)
    across_1, across_2 = _weights(op, x.scale, seen.is_smoothed, ACROSS)
    rows = [op.Gather(seen.pixels, index, axis=0) for index in _neighbours(op, y.n)]
    w1, w2 = op.Cast(down_1, to=_FLOAT), op.Cast(down_2, to=_FLOAT)
    summed = rows[2] * (256.0 - 2.0 * w1 - 2.0 * w2) + (rows[1] + rows[3]) * w1 + (rows[0] + rows[4]) * w2
    lines = op.Floor(summed * 0.5)
    columns = [op.Gather(lines, index, axis=1) for index in _neighbours(op, x.n)]
    high = (
        _high(op, columns[2], ACROSS - 2 * across_1 - 2 * across_2)
        + _high(op, columns[1] + columns[3], across_1)
        + _high(op, columns[0] + columns[4], across_2)
    )
    half = op.Cast(op.Where(op.Equal(across_1, 0), 64, 65), to=_FLOAT)
    return op.Floor((high + half) / 128.0)


def _high(op: Any, values: Value, weight: Value) -> Value:
    """Return products in 1/65536, cut off to whole numbers.

    The weight is taken in two bytes: the products of either are below 2^24, which float32 holds. Some programs compute
    whole numbers in it too.

    Args:
        op: adds nodes.
        values: whole numbers up to 65,280, float32.
        weight: up to 65,536, int64.
    """
    upper = weight / 256
    first, second = (op.Cast(part, to=_FLOAT) for part in (upper, weight - upper * 256))
    return op.Floor((values * first + op.Floor(values * second / 256.0)) / 256.0)


def _weights(op: Any, scale: Value, is_smoothed: Value, whole: int) -> tuple[Value, Value]:
    """Return the weights of the neighbours in whole numbers, int64; see `warp._weights`."""
    variance = op.Max(1.0 / (scale * scale) - 1.0, 0.0) * SIGMA**2
    reach = op.Ceil(op.Sqrt(variance) * REACH)
    first = op.Where(op.Greater(variance, 0.0), op.Exp(-0.5 / variance), 0.0)
    second = op.Where(op.Greater(reach, 1.0), op.Pow(first, 4.0), 0.0)
    total = 1.0 + 2.0 * (first + second)
    shares = (_rounded(op, float(whole) * one / total) for one in (first, second))
    first, second = (op.Where(is_smoothed, one, 0) for one in shares)
    return first, second


def _neighbours(op: Any, n: Value) -> list[Value]:
    """Return the indices of the neighbours of each pixel, two before to two behind, mirrored at the ends: five [n]."""
    last = op.Max(2 * n - 2, 1)
    found = []
    for step in range(-2, 3):
        at = op.Mod(op.Abs(op.Range(0, n, 1) + step), last)
        found.append(op.Where(op.Less(at, n), at, last - at))
    return found


def _by_area(op: Any, pixels: Value, seen: _Seen) -> Value:
    """Return the part reduced by area, where that is the way: means of parts of pixels along rows and columns."""
    factors, weights = [], []
    for one in seen.yx:
        n_new = op.Where(seen.is_by_area, one.n_new, one.n)
        factor = op.Cast(one.n, to=_DOUBLE) / op.Cast(n_new, to=_DOUBLE)
        begins = op.Unsqueeze(op.Cast(op.Range(0, n_new, 1), to=_DOUBLE), [1]) * factor
        pixel = op.Unsqueeze(op.Cast(op.Range(0, one.n, 1), to=_DOUBLE), [0])
        overlap = op.Max(op.Min(pixel + 1.0, begins + factor) - op.Max(pixel, begins), 0.0)
        weights.append(op.Cast(overlap / factor, to=_FLOAT))
        factors.append(factor)
    means = _along_both(op, weights, pixels)
    is_two = op.And(op.Equal(factors[0], 2.0), op.Equal(factors[1], 2.0))
    return op.Where(is_two, op.Floor(means + 0.5), op.Round(means))


def _along_both(op: Any, weights: list[Value], pixels: Value) -> Value:
    """Return pixels [H, W, C] weighted along the rows, [w, W], and then down the columns, [h, H]: [h, w, C]."""
    rows, columns = weights
    across = op.MatMul(columns, pixels)  # [H, w, C]: the last two axes of each row
    shape = op.Shape(across)
    flat = op.Reshape(across, op.Concat(op.Slice(shape, [0], [1]), [-1], axis=0))
    down = op.MatMul(rows, flat)
    return op.Reshape(down, op.Concat([-1], op.Slice(shape, [1], [3]), axis=0))


def _sampled(op: Any, pixels: Value, seen: _Seen, sides: tuple[int, int], pad_mode: PadMode) -> Value:
    """Return the input, sampled bilinearly at positions of 1/128 of a pixel; see `resample_pure.resample`."""
    weights = []
    for one, side in zip(seen.yx, sides, strict=True):
        n = op.Where(seen.is_by_area, one.n_new, one.n)
        factor = op.Cast(one.n, to=_DOUBLE) / op.Cast(n, to=_DOUBLE)
        step, start = 1.0 / one.scale / factor, one.start / factor
        centres = op.Cast(op.Range(0, side, 1), to=_DOUBLE) + 0.5
        at = op.Cast(op.Floor(step * float(ONE) * centres + start * float(ONE) - _CENTRE), to=_INT64)
        weights.append(_bilinear(op, at, n, pad_mode))
    sums = _along_both(op, weights, pixels)  # whole numbers below 2^24, which float32 holds
    return op.Floor((sums + float(ONE * ONE // 2)) / float(ONE * ONE))


def _bilinear(op: Any, at: Value, n: Value, pad_mode: PadMode) -> Value:
    """Return the weights of `n` pixels at positions from the first one's centre, float32 [side, n], in 1/128."""
    last = (n - 1) * ONE
    if pad_mode == "reflection":
        at = op.Mod(at, n * (2 * ONE))
        at = op.Where(op.Greater(at, last), 2 * last + ONE - at, at)
    ring = ONE if pad_mode == "zeros" else 0  # of black about the image, whose pixels count for nothing
    at = op.Max(op.Min(at, last + ring), -ring)
    at = op.Unsqueeze(at, [1])
    pixel = op.Unsqueeze(op.Range(0, n, 1), [0]) * ONE
    return op.Cast(op.Max(ONE - op.Abs(at - pixel), 0), to=_FLOAT)
