"""Fake CUDA tensors in a PyTorch without a CUDA device: the two tables in C++ that refuse them.

PyTorch can imagine a device (FakeTensorMode), but its C++ half asks two things first, and a CPU build, or a CUDA build
that sees no driver, answers both with an error:

1. The device guard. Every operation on a `cuda` tensor sets the current device through a table of guards, one for each
   device type. In a CPU build the place of CUDA is empty:
       RuntimeError: PyTorch is not linked with support for cuda devices
   and with gradients the process aborts. torch itself has a guard that does nothing, but puts it only in the place of
   a guard that is there and counts no devices (`torch._C._ensureCUDADeviceGuardSet`). So one that counts none is put
   there, and torch replaces it by its own.
2. The accelerator. The autograd engine asks for the accelerator's streams:
       RuntimeError: Cannot access accelerator device when none is available
       RuntimeError: Cannot call hasPrimaryContext(0) without ATen_cuda library
   It believes what two methods of `at::CUDAHooksInterface` say: `isBuilt` and `hasPrimaryContext`. They get a table of
   methods in which these two return true.

Both are addresses in memory, found by exported symbols and by their place in a table of C++ methods, so they hold for
certain builds only. `check.py` says which were verified, and tries them out in a process that may crash.
Read in c10/core/impl/DeviceGuardImplInterface.h and FakeGuardImpl.h, aten/src/ATen/detail/CUDAHooksInterface.h
and AcceleratorHooksInterface.h of PyTorch 2.13.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch

CUDA, META = 1, 14
"""c10::DeviceType"""
IS_BUILT, HAS_PRIMARY_CONTEXT = 2, 4
"""places of the two methods in the table of at::CUDAHooksInterface (Itanium ABI)"""
DEVICE_COUNT = 15
"""place of deviceCount in the table of a device guard: the one of the meta device returns 1"""
METHODS = 120
"""more entries than the table of the hooks has; what follows it in memory is copied along and never used"""

_installed: list[str] = []
"""which patches hold in this process"""


class NotPatchable(Exception):
    """This build of PyTorch does not have what the patches need; the text says what."""


def install() -> None:
    """Both patches, once a process. Raises NotPatchable before anything is changed."""
    if _installed:
        return
    if torch.cuda.is_available():
        return  # a real device: its own guard and hooks are there, and fake tensors never reach it
    core, cpu = _library("c10"), _library("torch_cpu")
    guards = _table_of_guards(core)
    hooks = _hooks(cpu)
    install_guard(guards)
    install_hooks(guards, hooks)
    _installed.extend(("guard", "hooks"))


def _keep(*things: Any) -> None:
    """C++ holds the plain addresses of these until after Python has ended: one reference too many, so that nobody frees
    them (a freed table of methods is a segmentation fault at exit)."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def install_guard(guards: Any) -> None:
    """Patch 1: lets torch put its own idle guard in the place of CUDA."""
    ensure = getattr(torch._C, "_ensureCUDADeviceGuardSet", None)
    if ensure is None:
        raise NotPatchable("torch._C._ensureCUDADeviceGuardSet does not exist")
    if not guards[CUDA]:
        none = ctypes.CFUNCTYPE(ctypes.c_long)(lambda: 0)
        methods = (ctypes.c_void_p * 64)(*[ctypes.cast(none, ctypes.c_void_p).value] * 64)
        stub = (ctypes.c_void_p * 4)(ctypes.addressof(methods), 0, 0, 0)
        _keep(none, methods, stub)
        guards[CUDA] = ctypes.addressof(stub)
        ensure()
        if guards[CUDA] == ctypes.addressof(stub):
            guards[CUDA] = None
            raise NotPatchable("torch did not replace the empty device guard by its own")
    else:
        ensure()


def install_hooks(guards: Any, hooks: int) -> None:
    """Patch 2: the methods isBuilt and hasPrimaryContext of the CUDA hooks return true."""
    meta_methods = (ctypes.c_void_p * (DEVICE_COUNT + 1)).from_address(
        ctypes.c_void_p.from_address(guards[META]).value or 0
    )
    says_one = meta_methods[DEVICE_COUNT]
    table = ctypes.c_void_p.from_address(hooks).value or 0
    word = ctypes.sizeof(ctypes.c_void_p)
    # two words stand before the first method: the offset to the top of the object and its type
    copy = (ctypes.c_void_p * (METHODS + 2)).from_buffer_copy(
        (ctypes.c_void_p * (METHODS + 2)).from_address(table - 2 * word)
    )
    copy[2 + IS_BUILT] = says_one
    copy[2 + HAS_PRIMARY_CONTEXT] = says_one
    _keep(copy)
    ctypes.c_void_p.from_address(hooks).value = ctypes.addressof(copy) + 2 * word


def _library(name: str) -> ctypes.CDLL:
    folder = Path(torch.__file__).parent / "lib"
    if sys.platform == "win32":
        raise NotPatchable("the tables of the Windows build have another layout, which is not known yet")
    file = folder / f"lib{name}.{'dylib' if sys.platform == 'darwin' else 'so'}"
    if not file.exists():
        raise NotPatchable(f"{file.name} is not where a PyTorch wheel keeps it")
    return ctypes.CDLL(str(file))


def _table_of_guards(core: ctypes.CDLL) -> Any:
    try:
        return (ctypes.c_void_p * 24).in_dll(core, "_ZN3c104impl26device_guard_impl_registryE")
    except ValueError as error:
        raise NotPatchable("c10::impl::device_guard_impl_registry is not exported") from error


def _hooks(cpu: ctypes.CDLL) -> int:
    try:
        get = cpu._ZN2at6detail12getCUDAHooksEv
    except AttributeError as error:
        raise NotPatchable("at::detail::getCUDAHooks is not exported") from error
    get.restype = ctypes.c_void_p
    address = get()
    if not address:
        raise NotPatchable("at::detail::getCUDAHooks returned nothing")
    return int(address)
