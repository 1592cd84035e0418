"""The deep test's child: its results, and every way in which it can go wrong."""

import os
import stat
import sys

import pytest
from machines import patched

from onecard.machine import deep as deep_module
from onecard.machine import measured
from onecard.machine.cpu import processor
from onecard.machine.deep import deep, expected, keep, read
from onecard.machine.facts import Deep
from onecard.machine.patience import Answer
from onecard.machine.rules import diagnose

HALF = (
    '{"kind": "cuda", "device": "NVIDIA GeForce RTX 4070 Ti", "stage": "matmul", "available": true, "launched": true}'
)
WHOLE = HALF.replace("matmul", "done").replace("}", ', "bandwidth": 4.6e11, "flops": {"fp16": 7e13}}')


def test_the_last_line_counts():
    assert read(Answer(0, f"a warning\n{HALF}\n{WHOLE}\n")).bandwidth == 4.6e11


def test_a_child_that_was_killed_at_its_deadline_has_told_how_far_it_came():
    found = read(Answer(None, HALF))
    assert found.late and found.stage == "matmul"
    assert "deep-test-late" in [
        f.rule
        for f in diagnose(
            patched("linux", {}).__class__(system="linux", python=patched("linux", {}).python, deep=found)
        )
    ]


def test_a_crash_in_a_kernel_launch_is_a_failed_launch_with_its_words():
    found = read(
        Answer(-11, HALF.replace("matmul", "launch").replace(', "launched": true', "") + "\nFatal: illegal instruction")
    )
    assert found.launched is False and "illegal" in found.error


@pytest.mark.parametrize(
    "answer", [None, Answer(1, ""), Answer(0, "\x00\x01garbage\n{not json"), Answer(None, ""), Answer(0, "[1,2]\n7")]
)
def test_nothing_or_garbage_is_a_result_too(answer):
    found = read(answer)
    assert found.error and found.stage == "start" and found.launched is None


def test_expected_numbers_are_those_of_the_very_card():
    facts = patched("linux", {})
    numbers = expected(facts, Deep(device="NVIDIA GeForce RTX 4070 Ti", kind="cuda"))
    assert numbers["expected_name"] == "GeForce RTX 4070 Ti"
    assert numbers["expected"]["bandwidth"] == 504.2e9 or numbers["expected"]["bandwidth"] == pytest.approx(
        504e9, rel=0.002
    )
    assert numbers["expected"]["link"] == pytest.approx(31.5e9, rel=0.01)
    unknown = expected(facts, Deep(device="NVIDIA GeForce RTX 9090", kind="cuda"))
    assert "bandwidth" not in unknown["expected"]


def test_a_cpu_is_compared_with_what_was_measured_on_it():
    facts = patched("cpu_only", {})
    assert expected(facts, Deep(kind="cpu")) == {}
    cpu = processor()
    measured.remember(cpu, measured.Measured(processor=cpu.name, cores=2, bandwidth=30e9))
    assert expected(facts, Deep(kind="cpu"))["expected"] == {"bandwidth": 30e9}


def test_the_cpus_numbers_are_kept_for_later_plans(monkeypatch):
    cpu = processor()
    monkeypatch.setattr(deep_module, "load", lambda cpu: 0.1)
    keep(Deep(kind="cpu", bandwidth=30e9, flops={"fp32": 1e11}))
    keep(Deep(kind="cpu", bandwidth=10e9, flops={"fp32": 2e11}))  # other work took its share of the memory this time
    assert measured.recall(cpu).bandwidth == 30e9 and measured.recall(cpu).flops == {"fp32": 2e11}
    keep(Deep(kind="cuda", bandwidth=900e9, flops={"fp32": 9e13}))
    keep(Deep(kind="cpu", error="no words"))
    assert measured.recall(cpu).bandwidth == 30e9


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="shell scripts")
@pytest.mark.parametrize(
    "script", ["exec sleep 600", "while :; do head -c 4096 /dev/urandom; done", "exit 1", "kill -9 $$"]
)
def test_a_python_that_hangs_babbles_or_dies(tmp_path, monkeypatch, script):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(deep_module.sys, "executable", str(fake))
    found = deep(patched("linux", {}), seconds=0.5)
    assert found.launched is None and (found.error or found.late)


@pytest.mark.slow
def test_the_real_child_on_this_machine():
    found = deep(patched("cpu_only", {}), seconds=90)
    assert found.stage == "done" and found.error is None, found
    assert found.bandwidth > 1e8
    if "torch" in sys.modules or __import__("importlib.util").util.find_spec("torch"):
        assert found.flops["fp32"] > 1e8


def test_a_library_that_kills_the_process_is_named_and_the_rest_still_holds():
    found = read(Answer(-11, WHOLE.replace('"done"', '"import bitsandbytes"') + "\nSegmentation fault"))
    assert found.imports == {"bitsandbytes": "the process died: Segmentation fault"} and found.bandwidth == 4.6e11
    facts = patched("linux", {})
    told = [f.rule for f in diagnose(facts.__class__(system="linux", python=facts.python, deep=found))]
    assert told == ["import-fails"]
