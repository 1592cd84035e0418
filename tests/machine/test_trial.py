"""The stages of the deep test, run on the CPU in place of a GPU: what they time, and what they say of refusals."""

import json
import types

import msgspec
import pytest

from onecard.machine import bandwidth, trial
from onecard.machine.facts import Deep

torch = pytest.importorskip("torch")


class Card:
    """torch with a card of 4 GiB whose memory is the host's: enough for everything but kernels of CUDA."""

    def __init__(self, free=4 * 1024**3, refuse_after=None):
        self.blocks = 0
        self.refuse_after = refuse_after
        self.cuda = types.SimpleNamespace(mem_get_info=lambda: (free, free), empty_cache=lambda: None)
        self.uint8 = torch.uint8

    def empty(self, size, dtype, device):
        self.blocks += 1
        if self.refuse_after is not None and self.blocks > self.refuse_after:
            raise RuntimeError("CUDA out of memory. Tried to allocate 256 MiB")
        return torch.empty(1024, dtype=dtype)  # the count of blocks matters, not their size


def nothing():
    return None


def report():
    made = trial.Report()
    made.values["stage"] = "test"
    return made


def test_every_line_is_a_whole_report(capsys):
    made = trial.Report()
    made.add(stage="import")
    made.add(stage="launch", device="card")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"kind": "cpu", "stage": "launch", "device": "card"} and len(lines) == 2


def test_all_that_was_asked_for_can_be_allocated():
    made = report()
    trial.allocate(made, Card(), nothing)
    assert made.values["allocated_share"] == 1.0 and made.values["allocated_bytes"] == 14 * 256 * 1024**2
    assert made.values["full_slowdown"] > 0


def test_a_refusal_before_90_percent_is_told_with_its_words():
    made = report()
    trial.allocate(made, Card(refuse_after=7), nothing)
    assert made.values["allocated_share"] == 0.5 and "out of memory" in made.values["error"]


def test_a_card_without_free_memory_has_no_share():
    made = report()
    trial.allocate(made, Card(free=10 * 1024**2), nothing)
    assert made.values["allocated_share"] is None


def test_timing_counts_calls_and_waits_once_at_the_end():
    calls, waits = [], []
    seconds = trial.timed(lambda: calls.append(1), lambda: waits.append(1), 0.001)
    assert seconds > 0 and len(calls) >= 3 and len(waits) == 3  # after warming up, after the first, after all


def test_the_fields_are_those_that_the_parent_reads():
    made = report()
    trial.copies(made, torch, "cpu", nothing)
    made.add(bandwidth=trial.memory_rate(torch, "cpu", nothing, 64 * 1024**2))

    found = msgspec.convert(made.values, Deep)
    assert set(made.values) <= set(Deep.__struct_fields__)
    assert found.to_device > 1e7 and found.from_device > 1e7 and found.bandwidth > 1e7 and found.pinned is None


def test_without_torch_the_cpu_is_tried_all_the_same(monkeypatch):

    monkeypatch.setattr(bandwidth, "measure", lambda *a: bandwidth.Bandwidth(1e10, "memcmp"))
    made = report()
    trial.on_cpu(made, None, 1.0)
    assert made.values["kind"] == "cpu" and made.values["bandwidth"] == 1e10 and made.values["stage"] == "done"
    assert "flops" not in made.values
