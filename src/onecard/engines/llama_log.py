"""Reads what llama.cpp says about itself: its buffers, layers on the device, and why it could not load.

Lines as of 2026-10 (src/llama-model.cpp load_tensors, src/llama-kv-cache.cpp, src/llama-context.cpp), for example

    load_tensors:   CPU_REPACK model buffer size =   389.00 MiB
    llama_kv_cache:      CUDA0 KV buffer size =   256.00 MiB
    sched_reserve:      CUDA0 compute buffer size =   258.50 MiB
"""

import re
from typing import NamedTuple

from onecard.core.units import MiB

_BUFFER = re.compile(r"(\S+) +(model|KV|RS|R/S|output|compute) buffer size *= *([0-9.]+) MiB")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_VALUE = re.compile(r"llama_context: (n_ctx|n_batch|n_ubatch|n_seq_max) +=\s+(\d+)")
_FLASH = re.compile(r"Flash Attention (enabled|disabled)|flash_attn += (enabled|disabled|0|1)\b")
_NO_MEMORY = re.compile(r"failed to allocate|unable to allocate|out of memory|cudaMalloc failed|bad_alloc", re.I)
_LOAD_ERROR = re.compile(r"error loading model: (.*)|llama_model_loader: (failed.*)|(invalid magic characters.*)", re.I)


class Buffer(NamedTuple):
    """One allocation of llama.cpp."""

    where: str
    """CPU, CPU_Mapped, CPU_REPACK, CUDA0, CUDA_Host, Metal ..."""
    kind: str
    """model, kv, recurrent, output or compute"""
    bytes: int

    @property
    def on_host(self) -> bool:
        """Ordinary memory, pinned or not; on a machine without a GPU that is the device."""
        return self.where.startswith("CPU") or self.where.endswith("_Host")


def buffers(text: str) -> tuple[Buffer, ...]:
    """Every buffer in a log. A context that reserves its graph again says its compute buffers again: the last holds."""
    found: dict[tuple[str, str], int] = {}
    for where, kind, size in _BUFFER.findall(text):
        name = {"KV": "kv", "RS": "recurrent", "R/S": "recurrent"}.get(kind, kind)
        bytes_ = round(float(size) * MiB)
        # a model in several files, or a cache for windows beside the one for the rest, has a line each
        again = found.get((where, name), 0) if name in ("model", "kv") else 0
        found[where, name] = again + bytes_
    return tuple(Buffer(where, kind, size) for (where, kind), size in found.items())


def by_part(found: tuple[Buffer, ...], gpu: bool) -> dict[str, int]:
    """Bytes under the names of an Estimate: memory.<part> on the device, host.<part> beside it.

    Weights that the CPU keeps a second time in another order of blocks, states of recurrent layers and the buffer for
    logits are "other".
    """
    names = {"model": "weights", "kv": "kv_cache", "recurrent": "other", "output": "other", "compute": "workspace"}
    sums: dict[str, int] = {}
    for buffer in found:
        place = "host" if gpu and buffer.on_host else "memory"
        name = "other" if buffer.where.endswith("_REPACK") else names[buffer.kind]
        sums[f"{place}.{name}"] = sums.get(f"{place}.{name}", 0) + buffer.bytes
    return sums


def effective(text: str) -> dict[str, int | str]:
    """Settings that were really used: context, batches, layers on the device, flash attention."""
    found: dict[str, int | str] = {name: int(value) for name, value in _VALUE.findall(text)}
    for enabled, value in _FLASH.findall(text):
        found["flash_attention"] = "enabled" if "enabled" in (enabled, value) or value == "1" else "disabled"
    for done, of in _OFFLOADED.findall(text):
        found["layers_on_device"] = int(done)
        found["layers"] = int(of)
    return found


def no_memory(text: str) -> str | None:
    """The line that says that memory ran out, if there is one."""
    return next((line.strip() for line in text.splitlines() if _NO_MEMORY.search(line)), None)


def load_error(text: str) -> str:
    """Why a model could not be loaded, in llama.cpp's words; empty if it does not say."""
    for line in text.splitlines():
        hit = _LOAD_ERROR.search(line)
        if hit:
            return next(g for g in hit.groups() if g)
    return ""
