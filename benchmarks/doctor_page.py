"""Writes docs/doctor.md: the text around, the output of the commands that the page names, and the table of all rules.

    python benchmarks/doctor_page.py [--check]

Each block of output is what the command above it prints, run here on a made-up machine. --check writes nothing and
exits 1 where the page is not current; a test calls it.
"""

import ast
import contextlib
import io
import os
import shlex
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "doctor.md"
MACHINES = "tests/fixtures/machines"

TEXT = """\
# doctor, setup, watch

Made by `python benchmarks/doctor_page.py`: every block of output below was printed by the command above it. The machines
are made up to show what findings look like: no card was measured for these figures.

## doctor: why is my GPU not used, and is it as fast as it should be

`onecard doctor` reads files, package metadata and the driver; it imports no torch, starts no child, changes nothing and
answers in well under two seconds. Each finding has its evidence, its cause, one thing to do, its
public source and the date of that knowledge. Exit code 0: healthy, or warnings only. 1: a check found an error. 2: bad input.

{doctor --redact --fixture MACHINES/examples/windows_cpu_build.json}

`onecard doctor --deep` tries the device too, in a child with a deadline: it launches a kernel, multiplies in fp32, fp16,
bf16 and int8, copies both ways, measures the memory's bandwidth, allocates up to 90 % of what is free, reads link, clocks
and throttle reasons *while the device is busy* (an idle card runs its link at the lowest speed; that is normal), and
imports the libraries with compiled parts, because only that shows whether they fit.
The numbers are set beside the card's own row of the catalogue. On a machine without a GPU it tries the CPU.

{doctor --redact --fixture MACHINES/examples/slow_card.json}

To ask for help, send a recording without names: `onecard doctor --record facts.json --redact`. Whoever gets it sees the
same findings with `onecard doctor --fixture facts.json`. User names, host names, home folders, serial numbers and UUIDs
are replaced; tokens are never read.

A recording can be written by hand, in a few lines: what is missing or null is unknown, and what follows from something
else is filled in (CUDA from the driver's version, compute capability from the card's name). Names that no field has are
told, so that a misspelt one does not pass for health; a value of a wrong kind is refused with its place. Sizes may be
written as "12 GiB". The fields are listed [below](#fields-of-a-recorded-machine). `--fixture -` reads from stdin.

{FILE MACHINES/examples/by_hand.json}

{doctor --fixture MACHINES/examples/by_hand.json}

Instead of fields a recording may name another one and what differs from it, by dotted places: that is how the rules' own
tests are written, so each of them can be tried:

{FILE MACHINES/rules/power-limit-low.json}

`onecard doctor --explain RULE` shows a rule with its commands for each platform:

{doctor --explain driver-too-old}

## setup: the commands for this machine

`onecard setup` picks the PyTorch build that this driver and this card run, from the support tables that PyTorch and
NVIDIA publish (kept in `src/onecard/machine/builds.py` with source and date). It prints; with `--apply` it runs, after
asking before each step, and tries the device at the end. Drivers are never installed for you: their command is that of
the system and distribution, and a card that newer drivers have dropped gets its own last branch.

{setup --fixture MACHINES/examples/windows_cpu_build.json}

## watch: what is it doing now

`onecard watch` shows every device each second: memory and who holds it, work, power, heat, clocks, link, why clocks are
held back, and the last minutes as a line. A run of onecard that is under way stands below, its plan beside what it does.
Without a GPU it shows the CPU. `--json` prints one line a moment; `--replay FILE` plays such a stream, or the journal of
a run. Where a driver does not tell the memory of each process (WSL2, Windows) it says "not available", never 0.

{watch --replay tests/fixtures/traces/finetune_on_12gb.jsonl --once --count 66}

## What is tried and what is not

Rules are tested one by one: for each, a recorded or made-up machine that has the trouble gives exactly that finding, and
one that only looks like it gives none; ten kinds of healthy machines give none at all. Healthy machines written by hand
(`tests/fixtures/machines/by_hand.json`: old and new drivers, cards from Pascal to Blackwell, Windows, WSL2, containers, Arm,
AMD, Apple) give none beyond the note that a card has no bfloat16 units; the same file has the failure modes that users
report, one by one, with the rules that each must give. Every published PyTorch build is set beside every generation of
cards and four drivers: what runs is healthy, what does not gets its one finding. Programs on PATH that hang, print
garbage or fail, and a driver that hangs, are tried too. The readers of NVML are tested against a stand-in that answers and
refuses like the library; the readers for macOS and Windows against recorded output, or not at all where that needs the
system itself (registry, power state).

"""


def page() -> str:
    lines: list[str] = []
    for line in TEXT.splitlines():
        if line.startswith("{") and line.endswith("}"):
            command = line[1:-1].replace("MACHINES", MACHINES)
            if command.startswith("FILE "):
                lines += ["```json", *(ROOT / command[5:]).read_text(encoding="utf-8").rstrip().splitlines(), "```"]
                continue
            lines += ["```console", f"$ onecard {command}", *output(command), "```"]
        else:
            lines.append(line)
    return "\n".join([*lines, *table(), "", *fields(), ""])


def output(command: str) -> list[str]:
    """What a command prints into a pipe of 100 columns, without trailing blanks."""
    from onecard.cli import main

    os.environ |= {"COLUMNS": "100", "TZ": "UTC", "NO_COLOR": "1"}
    time.tzset()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(shlex.split(command))
    return [line.rstrip() for line in printed.getvalue().rstrip().splitlines()]


def table() -> list[str]:
    from onecard.api.machines import rules

    all_rules = rules()
    lines = [f"## The {len(all_rules)} rules", ""]
    area = ""
    for rule in all_rules:
        if rule.area != area:
            area = rule.area
            lines += [
                "",
                f"### {area.replace('_', ' ')}",
                "",
                "| rule | severity | what | looks at | source |",
                "|---|---|---|---|---|",
            ]
        lines.append(
            f"| `{rule.rule}` | {rule.severity} | {rule.title} | {rule.looks_at} | [{rule.date}]({rule.source}) |"
        )
    return lines


def fields() -> list[str]:
    """Every field of a recording with its type and the words beside it in the source."""
    from onecard.core import reading
    from onecard.machine import facts, nvml

    lines = [
        "## Fields of a recorded machine",
        "",
        "Bytes, seconds, hertz, watts, degrees Celsius; shares from 0 to 1. None is required.",
    ]
    for module, names in (
        (facts, ("Facts", "Python", "Torch", "Disk", "Docker", "Deep")),
        (nvml, ("Card",)),
        (reading, ("Reading", "Holder")),
    ):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for name in names:
            lines += ["", f"### {name}", ""]
            body = found[name].body
            for number, node in enumerate(body):
                if isinstance(node, ast.AnnAssign):
                    after = body[number + 1] if number + 1 < len(body) else None
                    said = (
                        after.value.value
                        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                        else ""
                    )
                    words = " ".join(str(said).split())
                    kind = ast.unparse(node.annotation).removesuffix(" | None").replace("|", "or")
                    lines.append(f"- `{ast.unparse(node.target)}` ({kind})" + (f": {words}" if words else ""))
    return lines


def main() -> None:
    os.chdir(ROOT)
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/doctor.md is not current: python benchmarks/doctor_page.py")
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    main()
