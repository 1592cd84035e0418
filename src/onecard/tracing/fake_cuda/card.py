"""The card that programs see: what `torch.cuda` answers is read from a Profile instead of a driver.

Symptom without it: `torch.autocast("cuda")` warns and computes in fp32, libraries choose their CPU paths, and every
question about memory, properties, streams or random states raises "Torch not compiled with CUDA enabled".

Memory statistics answer what the trace has seen so far (requested bytes; the allocator's own figures come later), so
that programs which print or decide by them go on.
"""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from onecard.tracing.fake_cuda.patching import replaced
from onecard.tracing.profiles import Profile


class FakeStream:
    """A CUDA stream or event on which nothing waits: one stream, in order."""

    device = torch.device("cuda", 0)
    device_index = 0
    device_type = 1
    cuda_stream = 0
    stream_id = 0
    cuda_event = 0
    priority = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def synchronize(self) -> None: ...

    def record(self, stream: Any = None) -> None: ...

    def wait(self, stream: Any = None) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def wait_stream(self, stream: Any) -> None: ...

    def record_event(self, event: Any = None) -> "FakeStream":
        return self

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: Any) -> float:
        return 1.0

    def __enter__(self) -> "FakeStream":
        return self

    def __exit__(self, *error: object) -> None: ...


class Idle(contextlib.AbstractContextManager[Any]):
    """Stands for torch.cuda.device(...) and torch.cuda.stream(...)."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __exit__(self, *error: object) -> None: ...


def properties(profile: Profile) -> types.SimpleNamespace:
    """What `torch.cuda.get_device_properties` returns, as far as programs read it."""
    major, minor = profile.capability
    return types.SimpleNamespace(
        name=profile.name,
        major=major,
        minor=minor,
        total_memory=profile.memory,
        multi_processor_count=profile.multiprocessors,
        warp_size=32,
        max_threads_per_multi_processor=profile.threads,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=101376,
        shared_memory_per_multiprocessor=102400,
        L2_cache_size=48 << 20,
        gcnArchName="",
        is_integrated=0,
        is_multi_gpu_board=0,
        uuid="GPU-00000000-0000-0000-0000-000000000000",
    )


@contextlib.contextmanager
def card(profile: Profile, live: Callable[[], int], emptied: Callable[[], None]) -> Iterator[None]:
    """torch.cuda answers for a card of this profile.

    live: bytes of all storages now.  emptied: called where the program calls torch.cuda.empty_cache().
    """

    def nothing(*arguments: Any, **options: Any) -> None: ...

    def used(device: Any = None) -> int:
        return live()

    def stream(*arguments: Any, **options: Any) -> FakeStream:
        return FakeStream()

    def state(device: Any = None) -> torch.Tensor:
        return torch.zeros(16, dtype=torch.uint8, device="cpu")

    def supports_bfloat16(including_emulation: bool = True) -> bool:
        return profile.bfloat16 or including_emulation

    def statistics(device: Any = None) -> dict[str, int]:
        names = ("allocated_bytes", "active_bytes", "reserved_bytes", "requested_bytes")
        return {f"{name}.all.{when}": live() for name in names for when in ("current", "peak")}

    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": nothing,
        "get_device_properties": lambda device=None: properties(profile),
        "get_device_capability": lambda device=None: profile.capability,
        "get_device_name": lambda device=None: profile.name,
        "is_bf16_supported": supports_bfloat16,
        "is_tf32_supported": lambda: profile.bfloat16,
        "mem_get_info": lambda device=None: (profile.memory - live(), profile.memory),
        "memory_allocated": used,
        "max_memory_allocated": used,
        "memory_reserved": used,
        "max_memory_reserved": used,
        "memory_stats": statistics,
        "reset_peak_memory_stats": nothing,
        "reset_accumulated_memory_stats": nothing,
        "set_per_process_memory_fraction": nothing,
        "empty_cache": lambda: emptied(),
        "ipc_collect": nothing,
        "synchronize": nothing,
        "init": nothing,
        "_lazy_init": nothing,
        "manual_seed": nothing,
        "manual_seed_all": nothing,
        "seed": nothing,
        "seed_all": nothing,
        "initial_seed": lambda: 0,
        "get_rng_state": state,
        "get_rng_state_all": lambda: [state()],
        "set_rng_state": nothing,
        "set_rng_state_all": nothing,
        "current_stream": stream,
        "default_stream": stream,
        "Stream": FakeStream,
        "Event": FakeStream,
        "stream": Idle,
        "device": Idle,
        "device_of": Idle,
        "set_stream": nothing,
        "is_current_stream_capturing": lambda: False,
        "can_device_access_peer": lambda device, peer: False,
        "utilization": lambda device=None: 0,
        "get_arch_list": lambda: [f"sm_{profile.capability[0]}{profile.capability[1]}"],
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(torch.cuda, **answers))
        # modules that took the function by name before us
        stack.enter_context(replaced(torch.cuda.memory, **{k: answers[k] for k in _IN_MEMORY}))
        stack.enter_context(replaced(torch.cuda.random, **{k: answers[k] for k in _IN_RANDOM}))
        stack.enter_context(replaced(torch.backends.cuda, is_built=lambda: True))
        stack.enter_context(replaced(torch.backends.cudnn, is_available=lambda: True, version=lambda: profile.cudnn))
        yield


_IN_MEMORY = (
    "mem_get_info",
    "memory_allocated",
    "max_memory_allocated",
    "memory_reserved",
    "max_memory_reserved",
    "memory_stats",
    "reset_peak_memory_stats",
    "set_per_process_memory_fraction",
    "empty_cache",
)
_IN_RANDOM = ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all")
