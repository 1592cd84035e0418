"""What the two processes of a trace say to each other: a Job goes in as a file, a Result comes back as one."""

from typing import Any

import msgspec

from onecard.core.cost import Cost
from onecard.tracing.profiles import Profile
from onecard.tracing.target import Target


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One trace."""

    target: Target
    profile: Profile
    settings: dict[str, Any] = {}
    """keyword arguments of the function; JSON values only"""
    arguments: tuple[str, ...] = ()
    """sys.argv[1:] of a script"""
    limit: float = 120.0
    """seconds after which the program is stopped, and what was seen so far is the answer"""
    steps: int = 2
    unknown: float = 1.0
    """share that a mask with unknown values selects"""
    routing: str = "balanced"
    """how a mixture of experts spreads its tokens: balanced or worst"""
    scratch: str
    """folder that takes what the program writes"""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no Cost, for an OnecardError."""

    what: str
    why: str = ""
    next: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    cost: Cost | None = None
    problem: Problem | None = None
    files: dict[str, str] = {}
    """local Python files that were imported: path -> SHA-256; the answer holds as long as they stay"""
    seconds: float = 0.0
    """that the trace took, without imports"""
