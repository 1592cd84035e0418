"""trace: peak memory and speed of any PyTorch step, without a GPU.

    cost = onecard.trace("train.py")                          # an unmodified script
    cost = onecard.trace("train.py:build", batch=8)           # build(**settings) returns the step
    cost = onecard.trace(build, batch=8, on="RTX 4070 Ti")    # a function at the top level of a file
    answer = onecard.api.traced("train.py:build", batch=8, on="RTX 4070 Ti")   # with replay, breakdown and timeline

The program runs once on fake tensors in a child process; the answer is remembered by content and versions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.cost import Cost
from onecard.core.device import Device
from onecard.core.errors import BadSetting, MissingExtra
from onecard.core.require import has
from onecard.core.traced import Traced
from onecard.tracing.job import Job
from onecard.tracing.profiles import DEFAULT, Profile, profile_of
from onecard.tracing.target import target_of

LIMIT = 120.0
"""seconds a program may run on fake tensors"""


def trace(
    target: str | Path | Callable[..., Any],
    *,
    on: str | Device | None = None,
    arguments: tuple[str, ...] = (),
    limit: float = LIMIT,
    routing: str = "balanced",
    fresh: bool = False,
    **settings: Any,
) -> Cost:
    """The Cost of a step: memory by phase and part, allocation events, operations.

    target: "file.py", "file.py:function", or a function at the top level of a file.
    on: a card by name, whose class decides the kernels; the default is this machine's CUDA card, else an RTX 4070 Ti's.
    arguments: of a script.  settings: keyword arguments of the function.
    limit: seconds after which the program is stopped; what was seen until then is the answer, and says so.
    routing: how a mixture of experts spreads tokens that nobody knows: balanced, or worst (all to the same experts).
    fresh: do not use a remembered answer.
    Raises OnecardError for a program that cannot be traced, with what it did and what to do next.
    """
    if not has("torch"):
        raise MissingExtra("torch", "to trace a PyTorch program", "llm")
    from onecard.tracing import cache

    if routing not in ("balanced", "worst"):
        raise BadSetting(f'routing "{routing}" is unknown', next="routing=balanced or routing=worst")
    try:
        plain = msgspec.to_builtins(settings)
    except TypeError as error:
        raise BadSetting(
            f"a setting cannot travel to the child process: {error}", next="use numbers, text, lists and dictionaries"
        ) from None
    job = Job(
        target=target_of(target),
        profile=_profile(on),
        settings=plain,
        arguments=arguments,
        limit=limit,
        routing=routing,
        scratch="",
    )
    name = cache.key(job)
    if not fresh and (known := cache.load(name)) is not None and known.cost is not None:
        return known.cost
    from onecard.tracing.fake_cuda.check import require_fake_cuda
    from onecard.tracing.launch import run_job, scratch_folder

    note = require_fake_cuda()
    folder = scratch_folder()
    try:
        result = run_job(msgspec.structs.replace(job, scratch=folder.name))
    finally:
        folder.cleanup()
    cost = result.cost
    assert cost is not None
    if note:
        cost = msgspec.structs.replace(cost, notes=(note, *cost.notes))
        result = msgspec.structs.replace(result, cost=cost)
    cache.save(name, result)
    return cost


def traced(
    target: str | Path | Callable[..., Any],
    *,
    on: str | Device | None = None,
    budget: str | int | None = None,
    allocator: str = "",
    **options: Any,
) -> Traced:
    """`trace`, replayed through the allocator of a card: does it fit, where does it break, who holds the memory.

    budget: bytes that may be used ("12GiB").  allocator: as in PYTORCH_ALLOC_CONF.  options: as for `trace`.
    """
    from onecard.core.units import parse_size
    from onecard.predict.peak import answer
    from onecard.predict.price import price

    card = _card(on)
    cost = trace(target, on=card, **options)
    room = parse_size(budget) if isinstance(budget, str) else budget
    return answer(cost, str(target_of(target)), card, room, allocator, price(cost, card, budget=room))


def write_snapshot(answer: Traced, path: str | Path) -> None:
    """The trace as a file that PyTorch's own memory visualiser opens (https://docs.pytorch.org/memory_viz)."""
    import pickle

    from onecard.predict import allocator_settings
    from onecard.predict.snapshot import snapshot

    assert answer.cost.events is not None
    settings = allocator_settings.parse(answer.allocator)
    capacity = answer.capacity if answer.replay.oom is not None or answer.replay.retries else None
    Path(path).write_bytes(pickle.dumps(snapshot(answer.cost.events, settings, capacity), protocol=4))


def split_arguments(target: str, rest: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(settings, arguments) from a command line: NAME=VALUE belongs to a function, everything to a script.

    A value is read as JSON where it is JSON (8, 1e-4, true, [1, 2]), else as text. Raises BadSetting.
    """
    if target_of(target).function is None:
        return {}, rest
    settings: dict[str, Any] = {}
    for item in rest:
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise BadSetting(f'"{item}" is not a setting of {target}', next=f"onecard trace {target} batch=8")
        try:
            settings[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            settings[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return settings, ()


def _profile(on: str | Device | None) -> Profile:
    card = _card(on)
    return profile_of(card) if card.kind == "cuda" else DEFAULT


def _card(on: str | Device | None) -> Device:
    """The card that is meant; without a CUDA card in this machine, the reference card."""
    if isinstance(on, Device):
        return on
    from onecard.api.plans import device

    if on is not None:
        return device(on)
    own = device(None)
    return own if own.kind == "cuda" else device("RTX 4070 Ti")
