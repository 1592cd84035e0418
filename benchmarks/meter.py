"""What measuring a run costs: the sampler in the parent, the meter in the child.

    python benchmarks/meter.py [--pairs 8] [--seconds 2]

Three numbers. The processor time of one sample, as a share of one core at the sampler's own pace. The time of one phase
mark. And the ratio that counts: work done in a fixed time with the sampler and meter, over the same without, in
alternating arms, with the spread of the pairs (other work on the machine shows there, not in the first two numbers).
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from onecard.execute.meter import Meter
from onecard.machine.sampler import Sampler, card_sample, handle, process_sample

EVERY = 0.1
"""seconds between samples in the first minute of a run, when they are closest"""


def cost_of(call, count: int) -> float:
    """Processor seconds of one call."""
    call()
    start = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - start) / count


def work(seconds: float) -> float:
    """Units of work per second of a loop that does nothing but arithmetic."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        sum(i * i for i in range(2000))
        done += 1
    return done / (time.perf_counter() - start)


def measured(seconds: float) -> float:
    """The same work, sampled from a thread and inside a phase every 0.1 s of work."""
    meter = Meter(lambda *_: None)
    kept: list[dict[str, float]] = []
    with Sampler(os.getpid(), kept.append, ordinal=0 if handle(0) else None, every=EVERY):
        rates = []
        for _ in range(max(1, round(seconds / EVERY))):
            with meter.phase("step"):
                rates.append(work(EVERY))
    return statistics.fmean(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    sample = cost_of(lambda: process_sample(os.getpid()), 300)
    print(f"one sample of a process: {sample * 1e6:.0f} us of processor time, {sample / EVERY:.3%} of one core")
    if handle(0):
        card = cost_of(lambda: card_sample(os.getpid()), 50)
        print(f"one sample of a card: {card * 1e6:.0f} us of processor time, {card / EVERY:.3%} of one core")
    meter = Meter(lambda *_: None)

    def phase() -> None:
        with meter.phase("step"):
            pass

    print(f"one phase: {cost_of(phase, 300) * 1e6:.0f} us")
    ratios = []
    for _ in range(options.pairs):
        plain = work(options.seconds)
        ratios.append(measured(options.seconds) / plain)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"work done with over without: {middle:.4f} (median of {len(ratios)} pairs, {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
