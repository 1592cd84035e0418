"""batch_that_fits: every answer was traced, one more does not fit, and nothing that fits is an error in three lines."""

import pytest

from onecard.core.errors import NoRoom
from onecard.core.units import MiB

pytest.importorskip("torch")

NET = """
import torch

def build(batch=1, width=1024):
    net = torch.nn.Linear(width, width, device="cuda")
    x = torch.zeros(batch * 1024, width, device="cuda")

    def step():
        net(x).relu().sum().backward()

    return step
"""


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return f"{path}:build"


@pytest.mark.slow
def test_the_largest_batch_fits_and_one_more_does_not(target):
    from onecard.api import batch_that_fits, traced

    batch = batch_that_fits(target, "RTX 4070 Ti", budget="1GiB")
    assert traced(target, on="RTX 4070 Ti", budget="1GiB", batch=batch).fits
    needs = traced(target, on="RTX 4070 Ti", budget="1GiB", batch=batch + 1).needs
    assert needs > 1024 * MiB
    # a sample is 4 MiB of input, 4 of the product, 4 of its relu and, going back, 8 of gradients
    assert 25 <= batch <= 40


@pytest.mark.slow
def test_nothing_fits(target):
    from onecard.api import batch_that_fits

    with pytest.raises(NoRoom) as error:
        batch_that_fits(target, "RTX 4070 Ti", budget="300MiB")
    assert "batch=1 does not fit" in str(error.value)
