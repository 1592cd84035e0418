"""How much device memory the CUDA context of this process takes: outside torch's allocator, so torch cannot say.

Measured once: what the whole card holds more after the context was made than before, less what the allocator then
holds. Another process that starts in that moment would spoil it; the driver's count for this process is better where
the driver gives one (not on Windows, not across the process namespace of a container).
"""

import sys
from functools import cache
from typing import Any


@cache
def cuda_context(device: str) -> int | None:
    """Bytes; makes the context if it is not there yet. None without CUDA, torch or NVML."""
    torch: Any = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None or not torch.cuda.is_available():
        return None
    from onecard.machine.sampler import device_bytes, process_bytes

    ordinal = int(device.partition(":")[2] or 0)
    fresh = not torch.cuda.is_initialized()
    before = device_bytes(ordinal)
    torch.zeros(1, device=device)
    torch.cuda.synchronize(device)
    allocator = int(torch.cuda.memory_reserved(device))
    own = process_bytes(None, ordinal)
    if own is not None:
        return own - allocator
    after = device_bytes(ordinal)
    return after - before - allocator if fresh and before is not None and after is not None else None
