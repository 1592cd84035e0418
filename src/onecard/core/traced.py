"""What a trace answers: the step's Cost, and its allocations replayed for one card, cap and allocator setting.

Values only: predict/ computes them, api/ hands them out, show/ draws them.
"""

import msgspec

from onecard.core.cost import Cost
from onecard.core.estimate import Estimate


class PhasePeak(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch between two marks. Bytes; the last two as it ends."""

    name: str
    first: int
    """index of its first event"""
    allocated: int
    reserved: int
    allocated_after: int
    reserved_after: int


class OomPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process under a cap stops."""

    event: int
    phase: str
    category: str
    module: str
    operator: str
    asked: int
    """bytes of the request, as PyTorch's message shows them"""
    allocated: int
    reserved: int
    limit: int


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds while it does what the trace did. Bytes."""

    peak_allocated: int
    peak_reserved: int
    peak_requested: int
    """what the storages asked for, before any rounding"""
    peak_event: int
    """index in `order` of the birth at which the allocated peak is reached"""
    phases: tuple[PhasePeak, ...]
    retries: int
    """times that cached blocks had to go back to the driver to make room: slow, and close to the end"""
    segments: int
    oom: OomPoint | None = None
    allocated: tuple[int, ...] = ()
    """after each event, where a timeline was asked for"""
    reserved: tuple[int, ...] = ()

    def phase(self, name: str) -> PhasePeak | None:
        """The largest stretch of a name."""
        found = [p for p in self.phases if p.name == name]
        return max(found, key=lambda p: p.reserved) if found else None


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the memory at one moment: requested bytes by category, by module and by operator, largest first."""

    total: int
    categories: dict[str, int]
    modules: dict[str, int]
    operators: dict[str, int]


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `onecard trace`."""

    target: str
    """what was traced: "train.py:step" """
    card: str
    """the card that it was replayed for, by name"""
    cost: Cost
    replay: Replay
    held: Breakdown
    """who holds the memory at the allocated peak"""
    context: int
    """bytes that the CUDA context takes beside the allocator"""
    needs: int
    """bytes of the card with nothing in the way: free reserved peak and context"""
    capacity: int | None = None
    """bytes that the allocator may take on the card (or under the budget)"""
    allocator: str = ""
    """allocator settings, as in PYTORCH_ALLOC_CONF"""
    estimate: Estimate | None = None
    """the priced Cost: seconds and limiters too, where operations were counted"""

    @property
    def fits(self) -> bool | None:
        """None where nothing limits it."""
        return None if self.capacity is None else self.replay.oom is None
