"""The exit code that a Record's outcome means: 0 ok or stopped, 1 out of memory or failed, 2 the user's input."""

from collections.abc import Sequence

from onecard.core.record import Record


def exit_code(record: Record, told: Sequence[int]) -> int:
    """`told` holds the child's own view of it, if it lived to give one."""
    if record.outcome == "failed":
        return max((*told, 1))
    return {"ok": 0, "stopped": 0, "oom": 1}[record.outcome]
