"""The verbs as functions; the only door for the command line, the web app, notebooks and lessons.

Each lives in a module named for its subject and is resolved on first use, so that no verb pays for another's imports.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "can": "plans",
    "compare": "plans",
    "device": "plans",
    "plan": "plans",
    "prove": "runs",
    "record": "history",
    "records": "history",
    "resume": "runs",
    "run": "runs",
    "workload_settings": "plans",
    "workload_title": "plans",
    "workloads": "plans",
}
"""function -> module of this package that has it"""

__all__ = [
    "can",
    "compare",
    "device",
    "plan",
    "prove",
    "record",
    "records",
    "resume",
    "run",
    "workload_settings",
    "workload_title",
    "workloads",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"onecard.api.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'onecard.api' has no attribute {name!r}")
