"""onecard plan WORKLOAD: will it fit, how fast, with which settings."""

from typing import Any

from onecard.cli.options import BUDGET, EXPLAIN, JSON, ON, echo_json, workload_group
from onecard.core.plan import NO, plan_json


def _plan(
    workload: str, settings: dict[str, Any], on: str | None, budget: str | None, as_json: bool, explain: bool
) -> int:
    from onecard.api import plan

    answer = plan(workload, on=on, budget=budget, explain=explain, **settings)
    if as_json:
        echo_json(plan_json(answer))
    else:
        from onecard.show.console import show
        from onecard.show.plan import plan_view

        show(plan_view(answer))
    return 1 if answer.verdict == NO else 0


command = workload_group(
    "plan",
    _plan,
    ON,
    BUDGET,
    JSON,
    EXPLAIN,
    help="Predict memory and speed of a workload on this machine or another card.",
)
