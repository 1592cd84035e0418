"""CPU time of whole processes: what a person waits for before the first line. Budget: 0.3 s each, best of five.

    python benchmarks/startup.py [--json]

Also the time of `plan` with its search after start (budget 20 ms), and the size of the light core.
"""

import compileall
import json
import os
import re
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

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


CORE = 30e6
"""bytes that the core may take in site-packages, pip apart"""


def core_files() -> dict[str, int]:
    """Bytes of every distribution that a plain `pip install onecard` brings, onecard among them, with its byte code."""
    sizes: dict[str, int] = {}
    wanted = ["onecard"]
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in sizes:
            continue
        found = metadata.distribution(name)
        if name == "onecard":
            import onecard

            paths = [p for p in Path(onecard.__file__).parent.rglob("*") if p.is_file()]
        else:
            paths = [Path(str(found.locate_file(file))) for file in found.files or ()]
        sizes[name] = sum(p.stat().st_size for p in paths if p.is_file())
        for line in found.requires or ():
            requirement, _, marker = line.partition(";")
            if "extra" in marker:
                continue
            if "platform_system" in marker and '"Windows"' in marker and os.name != "nt":
                continue
            wanted.append(re.split(r"[ <>=!~\[(]", requirement.strip(), maxsplit=1)[0])
    return sizes


def main() -> None:
    os.environ.setdefault("COLUMNS", "110")
    import onecard

    # As pip leaves an installation: compiled once, not at every start where byte code may not be written.
    compileall.compile_dir(str(Path(onecard.__file__).parent), quiet=1)
    figures = {name: min(cpu_seconds(a) for _ in range(5)) for name, a in CALLS.items()}
    figures["plan with search, after start (median of 8 models)"] = plan_seconds()
    sizes = core_files()
    if "--json" in sys.argv:
        print(json.dumps({**figures, "core": sizes}))
        return
    for name, seconds in figures.items():
        budget = 0.02 if "after start" in name else 0.3
        print(
            f"{name:52} {seconds * 1e3:7.1f} ms CPU   budget {budget * 1e3:.0f} ms   {'ok' if seconds <= budget else 'OVER'}"
        )
    whole = sum(sizes.values())
    names = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(sizes.items(), key=lambda s: -s[1]))
    title = "core install (site-packages without pip)"
    print(
        f"{title:52} {whole / 1e6:7.1f} MB       budget {CORE / 1e6:.0f} MB   {'ok' if whole <= CORE else 'OVER'}\n  {names}"
    )


if __name__ == "__main__":
    main()
