"""Is my speed normal? Everything that this machine and others know of the same work, for one Record."""

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from onecard.core.errors import OnecardError
from onecard.core.opinion import Opinion
from onecard.core.places import records_file
from onecard.core.record import Record


@cache
def _published() -> tuple[dict[str, str], ...]:
    text = (files("onecard.data") / "published_rates.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def published_rates(plan: dict[str, Any]) -> list[tuple[str, float, str]]:
    """(rate, value, source) that others measured for the model and format of a plan on its card, with llama.cpp."""
    settings = plan.get("settings", {})
    if plan.get("workload") != "chat" or settings.get("engine") != "llama.cpp":
        return []
    card = str(plan.get("device", {}).get("name", ""))
    name, quant = _catalogue_name(str(settings.get("model"))), str(settings.get("quant") or "").lower()
    return [
        (row["rate"], float(row["value"]), f"{row['url']} ({row['year']})")
        for row in _published()
        if (row["device"], row["model"], row["quant"]) == (card, name, quant)
    ]


def _catalogue_name(model: str) -> str:
    from onecard.catalog import find_model

    try:
        return find_model(model).name
    except OnecardError:
        return model


def opinions(record: Record, history: Iterable[Record] | None = None) -> tuple[Opinion, ...]:
    """One Opinion for each rate of a Record: against the plan's range, this device's history, and published records.

    history: other Records, where they are at hand already; left out: the newest of this workload in the store.
    """
    from onecard.predict import normal
    from onecard.store.records import find

    if history is None:
        workload = str(record.plan.get("workload", ""))
        history = find(records_file(), workload=workload, outcome="ok", limit=200)
    return normal.opinions(record, history, published_rates(record.plan))
