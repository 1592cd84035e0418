"""docs/doctor.md is what the commands print now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_page_is_current():
    done = subprocess.run(
        [sys.executable, "benchmarks/doctor_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
