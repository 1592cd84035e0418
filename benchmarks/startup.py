"""CPU time of whole processes: what a person waits for before the first line. Budget: 0.3 s each, best of five.

    python benchmarks/startup.py [--json]

Also the time of `plan` with its search after start (budget 20 ms), and the size of the light core.
"""

import json
import os
import resource
import subprocess
import sys
import time

CALLS = {
    "onecard --help": ["--help"],
    "onecard plan chat": ["plan", "chat", "--model", "llama-3-8b", "--on", "RTX 4070 Ti"],
    "onecard plan chat --json": ["plan", "chat", "--model", "llama-3-8b", "--on", "RTX 4070 Ti", "--json"],
    "onecard can": ["can", "--on", "RTX 4070 Ti"],
}


def cpu_seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "onecard", *arguments], stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plan_seconds() -> float:
    import onecard

    onecard.plan("chat", model="llama-3-8b", on="RTX 4070 Ti")
    models = (
        "llama-2-7b",
        "llama-2-13b",
        "mistral-7b",
        "qwen2.5-7b",
        "gemma-2-9b",
        "phi-4",
        "llama-2-70b",
        "mixtral-8x7b",
    )
    times = []
    for model in models:
        start = time.process_time()
        onecard.plan("chat", model=model, on="RTX 4070 Ti")
        times.append(time.process_time() - start)
    return sorted(times)[len(times) // 2]


def main() -> None:
    os.environ.setdefault("COLUMNS", "110")
    figures = {name: min(cpu_seconds(a) for _ in range(5)) for name, a in CALLS.items()}
    figures["plan with search, after start (median of 8 models)"] = plan_seconds()
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, seconds in figures.items():
        budget = 0.02 if "after start" in name else 0.3
        print(
            f"{name:52} {seconds * 1e3:7.1f} ms CPU   budget {budget * 1e3:.0f} ms   {'ok' if seconds <= budget else 'OVER'}"
        )


if __name__ == "__main__":
    main()
