"""A budget is a share of the allocator, less what lies outside of it; impossible ones are said before anything runs."""

import subprocess
import sys

import pytest

from onecard.core.errors import BadSetting, OutOfMemory
from onecard.execute.budget import allocator_fraction

GiB, MiB = 1024**3, 1024**2


def test_a_large_card_behaves_like_a_smaller_one():
    # 12 GiB on an 80 GiB card: context and reserve are outside the allocator
    fraction = allocator_fraction(12 * GiB, 500 * MiB, 300 * MiB, 80 * GiB)
    assert fraction * 80 * GiB + 500 * MiB + 300 * MiB == pytest.approx(12 * GiB)


def test_a_budget_that_holds_only_the_context_is_out_of_memory():
    with pytest.raises(OutOfMemory, match="leaves nothing") as caught:
        allocator_fraction(400 * MiB, 500 * MiB, 0, 80 * GiB)
    assert "500 MiB" in caught.value.why


def test_a_budget_larger_than_the_card_is_refused():
    with pytest.raises(BadSetting, match="more than the device"):
        allocator_fraction(100 * GiB, 500 * MiB, 0, 80 * GiB)


def test_a_ballast_without_a_driver_says_so_and_ends():
    done = subprocess.run(
        [sys.executable, "-m", "onecard.execute.ballast", str(GiB), "99"],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
    )
    # no driver: the library is missing; a driver: there is no 99th device
    assert done.returncode == 0 and done.stdout.startswith("error: ") and not done.stderr
