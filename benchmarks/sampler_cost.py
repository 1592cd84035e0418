"""What measuring costs: the throughput of a busy machine with the sampler attached over the throughput without it.

    python benchmarks/sampler_cost.py [--rounds N] [--seconds S] [--json]

The sampler does what it does in a run: each sample goes to a journal on disk. As many busy processes as there are cores
count as fast as they can, so that whatever the sampler takes, it takes from them. Rounds with and without alternate; the
ratio is the median over neighbouring pairs. Budget: 1.01 or less.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from onecard.execute.journal import Journal
from onecard.machine.cpu import processor
from onecard.machine.sampler import Sample, Sampler, nvml

WORK = """
import sys, time
until = time.perf_counter() + float(sys.argv[1])
done = 0
while time.perf_counter() < until:
    sum(range(20000))
    done += 1
print(done)
"""


def count(seconds: float, processes: int, sampled: bool) -> int:
    """Pieces of work that all processes did together."""
    children = [
        subprocess.Popen([sys.executable, "-c", WORK, str(seconds)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    if sampled:
        ordinal = 0 if nvml() is not None else None
        with tempfile.TemporaryDirectory() as folder, Journal(Path(folder)) as journal:

            def kept(sample: Sample) -> None:
                journal.write({"event": "sample", "t": time.perf_counter(), "values": sample})

            with Sampler(children[0].pid, kept, ordinal=ordinal):
                return sum(int(child.communicate()[0]) for child in children)
    return sum(int(child.communicate()[0]) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    cores = processor().cores
    ratios = []
    for i in range(chosen.rounds):
        # Which of the two comes first alternates, so that a drift of the machine does not count for one side.
        order = (True, False) if i % 2 else (False, True)
        counted = {sampled: count(chosen.seconds, cores, sampled) for sampled in order}
        ratios.append(counted[False] / counted[True])
    result = {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "rounds": len(ratios),
        "cores": cores,
    }
    if chosen.json:
        print(json.dumps(result))
    else:
        print(
            "without / with the sampler: {ratio:.4f} (median of {rounds} pairs, {lowest:.4f} to {highest:.4f}), {cores} cores busy".format(
                **result
            )
        )


if __name__ == "__main__":
    main()
