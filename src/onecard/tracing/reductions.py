"""Scratch memory of a CUDA reduction (sum, mean, max, norm, var ...), as PyTorch decides it.

A reduction over much input into few outputs is split over several thread blocks. Each block then writes its part into
a buffer, which is taken from the caching allocator for the time of the call, with a small array of semaphores after
it. Whether that happens depends on sizes, memory layout, accumulator and card. The rules below are those of
`setReduceConfig` in PyTorch's aten/src/ATen/native/cuda/Reduce.cuh (2.6 to 2.13), and of TensorIterator for the order
of dimensions. They reproduce recorded requests byte for byte (tests/tracing/test_reductions.py).

A reduction along the fastest dimension of a contiguous tensor seldom needs scratch; one across it often does: the sum
over the vocabulary of logits that lie transposed in memory takes twice the logits' own size.
"""

from collections.abc import Sequence

MAX_THREADS = 512
WARP = 32
LEAST_VALUES, MOST_VALUES = 16, 256
"""values a thread should handle when the input is split over blocks"""

ACCUMULATORS = {
    "sum": 4, "mean": 4, "nansum": 4, "norm": 4, "linalg_vector_norm": 4, "prod": 4, "amax": 4, "amin": 4, "logsumexp": 4,
    "max": 16, "min": 16, "argmax": 16, "argmin": 16,
    "var": 16, "std": 16, "var_mean": 16, "std_mean": 16,
    "any": 1, "all": 1,
}  # fmt: skip
"""bytes of one accumulator for floats of up to 32 bits: float; (value, int64 index); Welford (mean, m2, n, n as float)"""


def scratch(
    shape: Sequence[int],
    strides: Sequence[int],
    dims: Sequence[int],
    itemsize: int,
    accumulator: int,
    multiprocessors: int,
    threads_per_multiprocessor: int = 2048,
) -> tuple[int, int]:
    """(bytes of the buffer, bytes of the semaphores), (0, 0) where none is needed.

    shape, strides: of the input, in elements.  dims: reduced dimensions.  itemsize: of an input element.
    """
    order = _dimensions(shape, strides, dims)
    if not order:
        return 0, 0
    reduced = sum(1 for _, out, _ in order if out == 0)
    outputs = inputs = 1
    for size, out, _ in order:
        if out == 0:
            inputs *= size
        else:
            outputs *= size
    along = reduced == len(order) or (reduced > 0 and order[0][2] < order[reduced][2])
    if reduced == 0:
        return 0, 0
    fastest = order[0][2] if along else order[reduced][2]
    dim0, dim1 = (inputs, outputs) if along else (outputs, inputs)
    output_vector = 1
    if fastest == 1:
        if along and dim0 >= 128 and reduced == 1:
            dim0 //= 4
        elif not along:
            output_vector = _output_vector(order, reduced)
            dim0 //= output_vector
    limit = MAX_THREADS // output_vector
    width0, height0 = min(_power_below(dim0), limit), min(_power_below(dim1), limit)
    width = min(width0, WARP)
    height = min(height0, limit // width)
    width = min(width0, limit // height)
    step_input, step_output = (width, 1) if along else (1, width)
    across_warps = _up(inputs, step_input) >= min(height * 16, MOST_VALUES)
    if across_warps:
        step_input *= height
    else:
        step_output *= height
    grid = _up(outputs // output_vector, step_output)
    target = multiprocessors * (threads_per_multiprocessor // (width * height))
    values = _up(inputs, step_input)
    if not across_warps or values < MOST_VALUES or grid > target:
        return 0, 0
    blocks = max(min(_up(target, grid), _up(values, LEAST_VALUES)), _up(values, MOST_VALUES))
    if blocks <= 1:
        return 0, 0
    buffer = accumulator * outputs * blocks * (1 if along else width * output_vector)
    return buffer, 4 * grid


def _dimensions(shape: Sequence[int], strides: Sequence[int], dims: Sequence[int]) -> list[tuple[int, int, int]]:
    """(size, stride of the output, stride of the input), fastest first and merged, as TensorIterator has them.

    Reduced dimensions come first; the output is contiguous and has stride 0 along them.
    """
    rank = len(shape)
    gone = {d % rank for d in dims} if dims else set(range(rank))
    out, step = [0] * rank, 1
    for d in reversed(range(rank)):
        if d not in gone:
            out[d] = step
            step *= shape[d]
    entries = [(shape[d], out[d], strides[d]) for d in reversed(range(rank)) if shape[d] != 1]
    for i in range(1, len(entries)):
        at = i
        for before in reversed(range(i)):
            swap = _compare(entries[before], entries[at])
            if swap > 0:
                entries[before], entries[at] = entries[at], entries[before]
                at = before
            elif swap < 0:
                break
    merged: list[tuple[int, int, int]] = []
    for size, o, i in entries:
        if merged:
            last_size, last_o, last_i = merged[-1]
            if last_size * last_o == o and last_size * last_i == i and (last_o == 0) == (o == 0):
                merged[-1] = (last_size * size, last_o, last_i)
                continue
        merged.append((size, o, i))
    return merged


def _compare(a: tuple[int, int, int], b: tuple[int, int, int]) -> int:
    """Above 0 where b must come before a."""
    if (a[1] == 0) != (b[1] == 0):
        return 1 if b[1] == 0 else -1
    for x, y in ((a[1], b[1]), (a[2], b[2])):
        if x == 0 or y == 0:
            continue
        if x != y:
            return -1 if x < y else 1
        if a[0] > b[0]:
            return 1
    return 0


def _output_vector(order: list[tuple[int, int, int]], reduced: int) -> int:
    """Outputs that one load of a thread serves: 4, 2 or 1, whatever divides the outputs and the other strides."""
    vector = 4
    for number in (order[reduced][0], *(stride for n, (_, _, stride) in enumerate(order) if n != reduced)):
        while number % vector:
            vector //= 2
    return vector


def _power_below(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)


def _up(a: int, b: int) -> int:
    return -(-a // b)
