import subprocess
import sys

import pytest

SCRIPT = """
import sys
from contextlib import nullcontext

import psutil
import torch

from onecard.engines import heap

own = psutil.Process()
torch.zeros(6 << 20, dtype=torch.uint8)  # what was freed once raises glibc's threshold to its size
kept, before = [], own.memory_info().rss
with heap.apart() if sys.argv[1] == "apart" else nullcontext():
    for _ in range(60):
        large = torch.ones(2 << 20, dtype=torch.uint8)  # the 16-bit matrix ...
        kept.append(torch.ones(1 << 20, dtype=torch.uint8))  # ... and what stays of it
        del large
print((own.memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_matrices_that_go_leave_no_holes():
    """60 MiB are kept. In the heap each 2 MiB block that is freed before the next ones come may stay beside them."""
    pytest.importorskip("torch")

    def grown(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    apart = grown("apart")
    assert 58 <= apart <= 68
    assert apart <= grown("heap")
