"""The rules of `doctor`, one file per area; the folder is the registry.

from onecard.machine.rules import diagnose, rules
diagnose(facts)      what is wrong with a machine, worst first
"""

import functools
import pkgutil
from importlib import import_module

import msgspec

from onecard.core.finding import ERROR, NOTE, WARNING, Finding
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, apply

ORDER = (ERROR, WARNING, NOTE)


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All rules, by area in the order of the file names; each area's file has them in RULES."""
    found: list[Rule] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        own: tuple[Rule, ...] = import_module(f"{__name__}.{module}").RULES
        found += [msgspec.structs.replace(rule, area=module) for rule in own]
    return tuple(found)


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """Findings, errors first."""
    found = [f for rule in rules() if (f := apply(rule, facts)) is not None]
    return tuple(sorted(found, key=lambda f: ORDER.index(f.severity)))
