"""Fills the blocks of README.md with what their commands print now.

    python benchmarks/readme.py [can] [accuracy] [prove] [machine]

A block begins with the line ```` ``` ```` after its marker comment and ends with the next one. The proof runs for a minute
and measures this machine, so it wants to be alone on it.
"""

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PROOF = "prove chat --model llama-3.2-1b --quant q4_k_m --context 2048 --prompt-tokens 256 --output-tokens 48"


def printed(*command: str, check: bool = True) -> str:
    """Standard output of a command, without the spaces that pad its lines."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=check,
        env={**os.environ, "COLUMNS": "104", "NO_COLOR": "1"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def block(name: str) -> str:
    """The text of one block."""
    python = sys.executable
    if name == "can":
        return '$ onecard can --on "RTX 4070 Ti"\n' + printed(python, "-m", "onecard", "can", "--on", "RTX 4070 Ti")
    if name == "prove":
        return f"$ onecard {PROOF}\n" + printed(python, "-m", "onecard", *PROOF.split())
    if name == "machine":
        return "$ python benchmarks/this_machine.py\n" + printed(python, "benchmarks/this_machine.py", check=False)
    table = printed(python, "benchmarks/published.py", "--quiet")
    return f"$ make accuracy    # {datetime.date.today().isoformat()}\n" + table[table.index("target ") :]


def filled(text: str, name: str, content: str) -> str:
    """README with one block replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n```\n).*?(\n```\n)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no block {name}")
    return pattern.sub(lambda found: found[1] + content + found[2], text)


def main() -> None:
    for name in sys.argv[1:] or ("can", "accuracy", "prove", "machine"):
        README.write_text(filled(README.read_text(encoding="utf-8"), name, block(name)), encoding="utf-8")
        print(f"filled {name}")


if __name__ == "__main__":
    main()
