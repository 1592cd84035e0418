"""`python -m onecard.execute.ballast BUDGET ORDINAL`: holds all free memory of a CUDA device but BUDGET bytes.

Speaks to the driver alone (cuInit, cuCtxCreate, cuMemGetInfo, cuMemAlloc: CUDA driver API reference, section 5), so it
needs no library. Prints the bytes that it holds, then waits until its stdin closes: it cannot outlive who started it.
"""

import ctypes
import sys


def driver() -> ctypes.CDLL:
    """libcuda of the installed driver. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def hold(budget: int, ordinal: int) -> int:
    """Allocate everything but `budget`; bytes held. Raises RuntimeError with the driver's error number."""
    cuda = driver()

    def call(name: str, *arguments: object) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with CUDA error {status}")

    device, context = ctypes.c_int(), ctypes.c_void_p()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), ordinal)
    call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    size = free.value - budget
    if size <= 0:
        raise RuntimeError(f"only {free.value} bytes are free, less than the budget")
    pointer = ctypes.c_uint64()
    call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
    return size


def main() -> None:
    """Hold, say how much, wait."""
    try:
        print(hold(int(sys.argv[1]), int(sys.argv[2])), flush=True)
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", flush=True)
        return
    sys.stdin.read()


if __name__ == "__main__":
    main()
