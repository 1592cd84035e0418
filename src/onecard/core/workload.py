"""A Workload: one kind of machine-learning work, as a frozen value made of functions.

A new workload is one new file in workloads/: a docstring whose first line is its title, `Settings`, `cost`, `build`
and `step` (torch) or `run`, and `workload = Workload(...)` as its last line. No class to inherit, no list to edit.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from onecard.core.cost import Cost
from onecard.core.plan import Choice, Rung


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A library that running (never planning) needs: module name, the extra that brings it, and what for."""

    module: str
    extra: str
    purpose: str


def no_choices(settings: Any) -> tuple[Choice, ...]:
    """For a workload whose settings are all the user's."""
    return ()


def always_ready(settings: Any, how: str, options: Mapping[str, Any]) -> None:
    """For a workload that needs nothing but its libraries."""


def no_ladder(settings: Any) -> tuple[Rung, ...]:
    """For a workload that has nothing to give up after an out of memory."""
    return ()


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """settings: the Settings type.
    cost: settings (no None left) -> Cost; counted or read from a profile; instant, no torch.
    held: settings -> the same Cost, which may lack the operations: for a search that asks for memory hundreds of times.
        None: counting them costs little.
    choices: settings as given -> what the planner may choose, for every field that is None.
    needs: settings -> libraries that a run needs.
    build: (settings) -> anything; the state of a torch step, made on the current default device. With `step` it is
        what `trace` runs on fake tensors, what `prove` runs with synthetic weights and what `run` runs.
    step: (state) -> one step.
    run: (settings, session) -> quality figures; the whole of the work. It uses build and step where they exist.
    prove: (settings, session) -> None; a few steps with synthetic weights. None: build and steps are proven generically.
    outside: settings -> the command of a program that is planned here and run elsewhere ("" where nobody knows it); None: it
        is run here.
    ready: (settings, how, options) -> None; raises what a person should know before a process is started, like weights that
        are not there. how: "prove" or "run"; options: those of this one run.
    ladder: settings -> what to give up after an out of memory, in order; the run goes on from its last checkpoint with the
        same effective batch, steps, data order and learning rate.
    showcase: settings of the well-known cases that `can` shows, as (group, {setting: value}).
    """

    settings: type[msgspec.Struct]
    cost: Callable[[Any], Cost]
    held: Callable[[Any], Cost] | None = None
    choices: Callable[[Any], tuple[Choice, ...]] = no_choices
    needs: Callable[[Any], tuple[Need, ...]] = lambda settings: ()
    build: Callable[..., Any] | None = None
    step: Callable[[Any], Any] | None = None
    run: Callable[..., Any] | None = None
    prove: Callable[..., Any] | None = None
    outside: Callable[[Any], str | None] = lambda settings: None
    ready: Callable[[Any, str, Mapping[str, Any]], None] = always_ready
    ladder: Callable[[Any], tuple[Rung, ...]] = no_ladder
    showcase: tuple[tuple[str, dict[str, Any]], ...] = ()
    example: dict[str, Any] = {}
    """small settings that the contract tests can plan at once"""
