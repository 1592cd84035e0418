"""What optimizers keep and move, per trained parameter.

AdamW (arXiv 1711.05101) keeps two moments; the 8-bit kind (arXiv 2110.02861) keeps each in one byte with an fp32 scale
for every 256 of them, and tensors of fewer than 4,096 elements in fp32; the paged kind keeps the same in memory that the driver moves to
the host when the device is full; Adafactor (arXiv 1804.04235) keeps a row and a column of squares for a matrix.
"""

from collections import Counter
from collections.abc import Iterable
from math import prod

from onecard.core.cost import Operation
from onecard.core.errors import UnknownName

OPTIMIZERS = ("adamw", "adamw8bit", "paged-adamw8bit", "adafactor", "sgd")

_BLOCK = 256
_SMALLEST_8BIT = 4096
"""bitsandbytes.optim: min_8bit_size, and block size 256 since 0.44"""


def state_bytes(optimizer: str, shapes: Iterable[tuple[int, ...]], element: int = 4) -> float:
    """Bytes of optimizer state for trained tensors of these shapes. element: bytes of a full moment (as the weight).

    Raises UnknownName.
    """
    if optimizer not in OPTIMIZERS:
        raise UnknownName("optimizer", optimizer, OPTIMIZERS)
    # The layers of a model are alike: a few shapes, many times.
    return sum(count * _one(optimizer, shape, element) for shape, count in Counter(shapes).items())


def _one(optimizer: str, shape: tuple[int, ...], element: int) -> float:
    count = prod(shape)
    if optimizer == "adamw":
        return 2.0 * element * count
    if optimizer in ("adamw8bit", "paged-adamw8bit"):
        if count < _SMALLEST_8BIT:
            return 8.0 * count
        return 2.0 * count + 2 * 4.0 * -(-count // _BLOCK)
    if optimizer == "adafactor":
        # transformers.Adafactor with beta1=None: one row and one column of means of squares
        return 4.0 * (prod(shape[:-1]) + prod((*shape[:-2], shape[-1]))) if len(shape) > 1 else 4.0 * count
    return 0.0


def step_operation(optimizer: str, parameters: float, *, element: int = 4, clip: bool = True) -> Operation:
    """One step over all trained parameters: pure traffic. Gradients have the weights' type, `element` bytes.

    AdamW reads weight, gradient and both moments and writes all but the gradient. Clipping reads the gradients for their norm,
    then reads and writes them to scale.
    """
    moments = {"adamw": 2.0 * element, "adamw8bit": 2.03, "paged-adamw8bit": 2.03, "adafactor": 0.1, "sgd": 0.0}[
        optimizer
    ]
    # Adafactor builds its update in fp32 by five passes over a temporary
    passes = 5 * 8.0 if optimizer == "adafactor" else 0.0
    read = 2.0 * element + moments + passes / 2 + (2.0 * element if clip else 0.0)
    written = element + moments + passes / 2 + (element if clip else 0.0)
    return Operation(
        kind="optimizer",
        flops=20.0 * parameters,
        read=read * parameters,
        written=written * parameters,
        launches=40.0,
        label=optimizer,
    )
