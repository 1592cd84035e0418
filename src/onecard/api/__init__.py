"""The verbs as functions; the only door for the command line, the web app, notebooks and lessons.

Each lives in a module named for its subject and is resolved on first use, so that no verb pays for another's imports.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onecard.api.benches import bench as bench
    from onecard.api.changes import compare_records as compare_records
    from onecard.api.changes import record_differences as record_differences
    from onecard.api.containers import nim_preflight as nim_preflight
    from onecard.api.endpoints import bench_endpoint as bench_endpoint
    from onecard.api.fitting import batch_that_fits as batch_that_fits
    from onecard.api.fitting import largest as largest
    from onecard.api.history import record as record
    from onecard.api.history import records as records
    from onecard.api.machines import devices as devices
    from onecard.api.machines import doctor as doctor
    from onecard.api.machines import setup as setup
    from onecard.api.normality import opinions as opinions
    from onecard.api.plans import can as can
    from onecard.api.plans import compare as compare
    from onecard.api.plans import device as device
    from onecard.api.plans import plan as plan
    from onecard.api.plans import workload_settings as workload_settings
    from onecard.api.plans import workload_title as workload_title
    from onecard.api.plans import workloads as workloads
    from onecard.api.reports import gather as gather
    from onecard.api.reports import report as report
    from onecard.api.runs import prove as prove
    from onecard.api.runs import resume as resume
    from onecard.api.runs import run as run
    from onecard.api.traces import trace as trace
    from onecard.api.traces import traced as traced
    from onecard.api.watching import replay as replay
    from onecard.api.watching import watch as watch

_WHERE = {
    "batch_that_fits": "fitting",
    "bench": "benches",
    "bench_endpoint": "endpoints",
    "can": "plans",
    "compare": "plans",
    "compare_records": "changes",
    "device": "plans",
    "devices": "machines",
    "doctor": "machines",
    "gather": "reports",
    "largest": "fitting",
    "nim_preflight": "containers",
    "opinions": "normality",
    "plan": "plans",
    "prove": "runs",
    "record": "history",
    "record_differences": "changes",
    "records": "history",
    "replay": "watching",
    "report": "reports",
    "resume": "runs",
    "run": "runs",
    "setup": "machines",
    "trace": "traces",
    "traced": "traces",
    "watch": "watching",
    "workload_settings": "plans",
    "workload_title": "plans",
    "workloads": "plans",
}
"""function -> module of this package that has it"""

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"onecard.api.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'onecard.api' has no attribute {name!r}")
