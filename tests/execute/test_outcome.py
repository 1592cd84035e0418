"""Out of memory is told from a bug by what was raised, also when a library wraps it."""

import pytest

from onecard.core.errors import BadFile, OutOfMemory
from onecard.execute.outcome import ending_of


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemory("llama.cpp could not allocate 3 GiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("unable to allocate CPU buffer"),
    ],
)
def test_out_of_memory_in_all_its_words(error):
    assert ending_of(error).outcome == "oom"


def test_out_of_memory_inside_another_error():
    try:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise ValueError("the trainer stopped") from cause
    except ValueError as error:
        assert ending_of(error).outcome == "oom"


def test_other_errors_are_failures():
    assert ending_of(BadFile("x is empty", next="give another")).error == "x is empty\nnext: give another"
    assert ending_of(RuntimeError("shapes differ")).outcome == "failed"
