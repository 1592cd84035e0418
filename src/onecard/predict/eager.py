"""Seconds of the operations of an eager PyTorch program, as a trace counts them: the same limits, the libraries' shares.

    matmul       FLOPs / (peak of the unit x share of cuBLAS x share of the last wave of tiles), or its bytes
    convolution  the same as an implicit matrix product of cuDNN; images that lie channel by channel are turned around
                 before and after, which costs their bytes once more
    attention    FLOPs / (peak x share of the fused kernel), or its bytes
    the rest     bytes / (DRAM x share)

The host starts kernels one after the other; it limits a step only where it is slower than the device (predict/time.py).
Shares are of published peaks; benchmarks/fit_eager.py prints their errors on the rows that they were not read from.
"""

from math import ceil

from onecard.core.cost import AGAIN, Operation
from onecard.core.device import Device
from onecard.predict import kernels
from onecard.predict.kernels import Silicon

KERNELS = frozenset({"cublas", "cudnn", "eager", "flash", "efficient", "bitsandbytes"})
"""values of Operation.kernel (before a "/") that a traced program has"""

TENSOR = {
    "volta": 0.70, "turing": 0.65, "ampere": 1.0, "ada": 1.05, "ampere-hbm": 0.78, "hopper": 0.65, "blackwell": 0.95,
    "pascal": 0.9,
}  # fmt: skip
"""share of the matrix units' peak (fp32 accumulation) that cuBLAS sustains on large products. GeForce cards halve that
peak and boost above their table clock while memory and power allow; data-centre cards run into memory and power first"""
TENSOR_OTHER = 0.6
ORDINARY = {"ampere": 0.68, "ada": 0.72, "blackwell": 0.72, "volta": 0.92, "turing": 0.9, "pascal": 0.92}
"""the same for fp32 without matrix units: Ampere and later share half of the lanes with integers"""
ORDINARY_OTHER = 0.9
CONVOLUTION = 1.15
"""cuDNN's share of what cuBLAS reaches, in FLOPs of the plain sum: some 3 x 3 windows run by Winograd's algorithm, which does with
fewer"""
CONVOLUTION_FAST = 0.70
"""the same where the matrix units run at their full rate (volta, ampere-hbm, hopper): the windows' loads cannot feed them"""
FAST = ("volta", "ampere-hbm", "hopper")
ATTENTION = {"flash": 0.62, "efficient": 0.40, "cudnn": 0.75}
"""share of the matmul rate of fused attention, both directions"""
TURNED = 1.0
"""extra bytes of a convolution in halves whose images lie channel by channel, over its own: its kernels want channels together"""
STREAM = {"elementwise": 0.92, "optimizer": 0.88, "copy": 0.88, "embedding": 0.6, "quantize": 0.8, "reduction": 0.88}
"""share of DRAM streaming (Silicon.dram is on top)"""
PIPELINE = 32.0
"""length of the sum over k at which a tile's loop reaches half of its rate: filling and draining take as long"""
HOST = {"backward": 0.4, "optimizer": 0.5}
"""host's time per kernel relative to a forward pass in Python: the engine of autograd runs in C++, optimizers loop over lists"""
TILES = ((128, 256, 1.0), (128, 128, 0.95), (64, 128, 0.85), (64, 64, 0.7))
"""rows and columns of a tile, and how well it feeds the units"""


def host_share(phase: str, kernel: str) -> float:
    """Host's time per kernel in this phase relative to a forward pass."""
    return 1.0 if AGAIN in kernel else HOST.get(phase, 1.0)


def seconds(operation: Operation, device: Device, silicon: Silicon) -> tuple[float, str]:
    """(likely seconds, what limits them) of all calls of one row, without the gaps between kernels."""
    memory = kernels.dram(device, silicon)
    kind = operation.kind
    if kind in ("matmul", "convolution", "attention"):
        arithmetic = _arithmetic(operation, device)
        streamed = operation.bytes / (memory * STREAM["reduction"])
        turned = 0.0
        if kind == "convolution" and operation.compute in ("fp16", "bf16") and not operation.kernel.endswith("/nhwc"):
            turned = TURNED * operation.bytes / (memory * STREAM["copy"])
        return max(arithmetic, streamed) + turned, "compute" if arithmetic > streamed + turned else "bandwidth"
    return operation.bytes / (memory * STREAM.get(kind, 0.85)), "bandwidth"


def _arithmetic(operation: Operation, device: Device) -> float:
    peak = kernels.peak(device, operation.compute)
    if not peak or not operation.flops:
        return 0.0
    name = kernels.silicon_name(device)
    ordinary = operation.compute in ("fp32", "fp64") or not _has_unit(device, operation.compute)
    share = ORDINARY.get(name, ORDINARY_OTHER) if ordinary else TENSOR.get(name, TENSOR_OTHER)
    if operation.kind == "attention":
        share *= ATTENTION.get(operation.kernel.partition("/")[0], 0.4)
        if operation.shape is not None:  # heads are padded to a multiple of 32
            head = max(operation.shape[2], 1)
            share *= head / (ceil(head / 32) * 32)
    else:
        if operation.kind == "convolution":
            share *= CONVOLUTION_FAST if name in FAST and not ordinary else CONVOLUTION
        share *= wave(operation, device.multiprocessors)
    return operation.flops / (peak * share)


def _has_unit(device: Device, compute: str) -> bool:
    return compute in device.flops and device.flops[compute] != device.flops.get("fp32")


def wave(operation: Operation, multiprocessors: int | None) -> float:
    """Share of multiprocessors at work, and of tiles that are not padding; a batched product has the tiles of all.

    The number of products in a call follows from its FLOPs: flops / (2 m n k x calls).
    """
    if operation.shape is None or not multiprocessors:
        return 1.0
    m, n, k = (max(x, 1) for x in operation.shape)
    products = max(1.0, operation.flops / (2.0 * m * n * k * max(operation.launches, 1.0)))
    best = 0.0
    for rows, columns, reuse in TILES:
        tiles = ceil(m / rows) * ceil(n / columns)
        filled = m * n / (tiles * rows * columns)
        busy = tiles * products
        share = busy / (ceil(busy / multiprocessors) * multiprocessors)
        # few tiles: the sum over k is split among multiprocessors, with a second pass over the partial sums
        share = max(share, 0.6 * min(1.0, busy * (k // 256) / multiprocessors))
        best = max(best, filled * share * reuse)
    return best * k / (k + PIPELINE)
