"""The C library's heap while a model is loaded: matrices that come and go between those that stay leave no holes.

glibc takes small blocks from a heap that only shrinks at its end, and lets blocks of up to 32 MiB into it once one as large was
freed (mallopt(3)). A 16-bit matrix that is freed when it is quantised leaves a hole there, of which the next larger one makes
no use: 190 MiB for a model of 135 M in int8. `apart` has blocks mapped for themselves instead, and given back when they are freed.
Other systems' heaps are left alone.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""malloc.h's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD"""
_SMALL, _LARGE = 128 * 1024, 32 * 2**20
"""glibc's smallest threshold, and the largest that it would come to by itself"""


def _set(threshold: int) -> None:
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no mallopt
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, threshold)
            library.mallopt(_TRIM_THRESHOLD, 2 * threshold)


@contextmanager
def apart(quantised: bool = True) -> Iterator[None]:
    """Blocks above 128 KiB are mapped for themselves; afterwards as in any process that once freed a large block.

    quantised: False where matrices stay as they come, which leaves no holes: then nothing is done.
    """
    if not quantised:
        yield
        return
    _set(_SMALL)
    try:
        yield
    finally:
        _set(_LARGE)


def give_back() -> None:
    """Pages of the heap that nothing uses go back to the system."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
