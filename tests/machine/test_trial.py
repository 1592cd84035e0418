"""The stages of the deep test, run on the CPU in place of a GPU: what they time, and what they say of refusals."""

import json
import time
import types
import warnings

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


@pytest.mark.slow
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


def test_why_there_is_no_cuda_is_told_in_torchs_words():
    def warn():
        warnings.warn("CUDA initialization: The NVIDIA driver is too old (found version 11060)", stacklevel=1)
        return False

    def fail():
        raise RuntimeError("Error 804:\n forward compatibility was attempted on non supported HW")

    version = types.SimpleNamespace(cuda="13.0")
    warned = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=warn), version=version)
    assert trial.asked(warned) == (False, "CUDA initialization: The NVIDIA driver is too old (found version 11060)")
    failed = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False, init=fail), version=version)
    assert trial.asked(failed) == (False, "Error 804: forward compatibility was attempted on non supported HW")
    assert trial.asked(torch)[1] is None or torch.version.cuda  # the CPU build has nothing to explain


def test_libraries_that_do_not_fit_are_named(tmp_path, monkeypatch):
    (tmp_path / "good_part.py").write_text("print('a banner of its own')")
    (tmp_path / "bad_part.py").write_text("raise ImportError('undefined symbol:\\n _ZN3c104')")
    (tmp_path / "ends_part.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trial, "EXTENSIONS", ("good_part", "bad_part", "ends_part", "not_there_part"))
    made = report()
    trial.imports(made, time.monotonic() + 60)
    assert made.values["imports"] == {
        "bad_part": "ImportError: undefined symbol: _ZN3c104",
        "ends_part": "SystemExit: 3",
    }
    assert made.values["stage"] == "done"
    late = report()
    trial.imports(late, 0.0)
    assert late.values["imports"] == {}
