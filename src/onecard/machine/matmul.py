"""The child that measures arithmetic of the CPU: `python -m onecard.machine.matmul THREADS SECONDS` prints JSON.

Square matrix products, best of several: with torch in fp32, bf16, fp16 and int8, else with numpy in fp32. A type that
runs slower than a tenth of fp32 has no kernel here and is emulated; it is reported all the same: that is its rate.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

SIZE = 1024
"""2 x 1024^3 operations a product: far larger than the caches' share of the time, short enough for a slow machine"""


def main(threads: int, seconds: float) -> dict[str, Any]:
    """{"library", "version", "flops": {type: operations per second}}"""
    try:
        return with_torch(threads, seconds)
    except ImportError:
        return with_numpy(seconds)


def with_torch(threads: int, seconds: float) -> dict[str, Any]:
    """fp32, bf16, fp16 and int8 as torch runs them."""
    import torch

    torch.set_num_threads(threads)
    flops: dict[str, float] = {}
    with torch.inference_mode():
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            a, b = (torch.randn(SIZE, SIZE, dtype=dtype) for _ in range(2))
            rate = best(partial(torch.matmul, a, b), seconds / 4)
            if rate:
                flops[name] = rate
        a, b = (torch.randint(-8, 8, (SIZE, SIZE), dtype=torch.int8) for _ in range(2))
        rate = best(partial(torch._int_mm, a, b), seconds / 4)
        if rate:
            flops["int8"] = rate
    return {"library": "torch", "version": torch.__version__, "flops": flops}


def with_numpy(seconds: float) -> dict[str, Any]:
    """fp32 through numpy's BLAS (its threads follow the environment)."""
    import numpy

    a, b = (numpy.random.default_rng(0).standard_normal((SIZE, SIZE), dtype=numpy.float32) for _ in range(2))
    rate = best(partial(numpy.matmul, a, b), seconds)
    return {"library": "numpy", "version": numpy.__version__, "flops": {"fp32": rate} if rate else {}}


def best(product: Callable[[], Any], seconds: float) -> float | None:
    """Operations per second of the fastest pass; None where the type is not supported."""
    until = time.perf_counter() + seconds
    fastest = float("inf")
    try:
        product()
        for _ in range(20):
            start = time.perf_counter()
            product()
            fastest = min(fastest, time.perf_counter() - start)
            if time.perf_counter() > until:
                break
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
    return 2 * SIZE**3 / fastest


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), float(sys.argv[2]))))
