"""Records are the regression suite of the predictor: what was measured once is predicted again by the code of today.

Every file of records/<machine>/ (written by `onecard records --json`) and the small sample in tests/fixtures/records counts.
A Record holds the Plan that was made before it was measured; here its settings are priced again on its device, without
any Factor, and the new prediction is held against the old measurement. So a change that worsens the predictor fails.
"""

import statistics
from pathlib import Path

import msgspec
import pytest

from onecard import api
from onecard.core.device import Device
from onecard.core.record import SCHEMA, Record

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "records").glob("*/*.json"), *(ROOT / "tests" / "fixtures" / "records").glob("*.json")])

PEAK = {"cpu": 0.10, "cuda": 0.08}
"""largest median error of a peak by kind of device"""
PART = 0.03
"""largest error of weights and KV cache, which are counted to the byte"""
INSIDE = 0.9
"""share of peaks and rates that must lie inside their ranges"""


def records_of(path):
    return msgspec.json.decode(path.read_bytes(), type=list[Record])


def again(record):
    """The Plan of today for what was run then: memory.<part> and rates by name -> Range."""
    plan = api.plan(
        record.plan["workload"], on=msgspec.convert(record.plan["device"], Device), **record.plan["settings"]
    )
    memory = plan.estimate.memory
    return {
        "memory.peak": memory.peak_bytes,
        **{f"memory.{name}": size for name, size in memory.parts.items()},
        **plan.estimate.rates,
    }


@pytest.fixture(params=FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def judged(request):
    """(kind of device, [(name, predicted now, measured)]) of the Records that came to their end."""
    records = [r for r in records_of(request.param) if r.outcome == "ok" and r.kind == "prove"]
    rows = []
    for record in records:
        now = again(record)
        rows += [(m.name, now[m.name], m.measured) for m in record.measurements if m.measured and m.name in now]
    return records[0].plan["device"]["kind"] if records else "cpu", rows


def test_there_are_records_to_learn_from():
    assert FILES
    assert any(records_of(path) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_published_record_can_be_read_and_names_nobody(path):
    text = path.read_text(encoding="utf-8")
    for record in records_of(path):
        assert record.schema <= SCHEMA
        assert record.plan["settings"] and record.plan["device"]["name"]
    for word in ("/home/", "/Users/", "C:\\\\Users"):
        assert word not in text, f"{path.name} holds a path of somebody's machine"


def test_the_median_error_of_a_peak_stays_under_its_bound(judged):
    kind, rows = judged
    errors = [abs(now.likely / measured - 1) for name, now, measured in rows if name == "memory.peak"]
    if not errors:
        pytest.skip("no peak was measured here")
    assert statistics.median(errors) <= PEAK.get(kind, 0.10), errors


def test_what_is_counted_is_right_part_by_part(judged):
    for name, now, measured in judged[1]:
        if name in ("memory.weights", "memory.kv_cache"):
            assert abs(now.likely / measured - 1) <= PART, (name, now, measured)


def test_a_range_holds_what_it_promises(judged):
    held = [
        now.low <= measured <= now.high
        for name, now, measured in judged[1]
        if name == "memory.peak" or name.endswith("_per_s")
    ]
    assert not held or sum(held) >= INSIDE * len(held)
