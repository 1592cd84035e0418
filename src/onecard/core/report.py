"""A Report: everything that one would show a friend, or a forum, about a machine and what was predicted and measured on it."""

from typing import Any

import msgspec

from onecard.core.opinion import Opinion
from onecard.core.plan import Plan
from onecard.core.record import Record
from onecard.core.score import Score


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content only; show/ makes HTML, Markdown or CSV of it."""

    title: str
    created: str
    """ISO 8601, UTC"""
    version: str
    machine: tuple[dict[str, Any], ...]
    """the devices, as JSON"""
    plans: tuple[Plan, ...] = ()
    records: tuple[Record, ...] = ()
    scores: tuple[Score, ...] = ()
    """of the newest benchmark of each device"""
    opinions: dict[str, tuple[Opinion, ...]] = {}
    """id of a Record -> is its speed normal?"""
    environment: dict[str, Any] = {}
    """system, driver and versions, without names"""
    findings: tuple[dict[str, Any], ...] = ()
    """of the doctor, as JSON"""
    commands: tuple[str, ...] = ()
    """what made it"""
