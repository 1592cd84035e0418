"""The docs are true: the reference is what the program says, links lead somewhere, commands in the pages exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def test_the_reference_is_current():
    done = subprocess.run(
        [sys.executable, "benchmarks/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files_that_exist(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands(text):
    """What a page shows as a command: lines of its code blocks that begin with onecard, and its code spans. Prose is none."""
    command = r"(?:\$ )?(?:python -m )?onecard ([a-z].*)"
    blocks = re.findall(r"^(?:```.*?^```|    .*?$)", text, re.M | re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [found[1] for line in (*lines, *spans) if (found := re.fullmatch(command, line))]


def test_prose_is_not_taken_for_a_command():
    page = "onecard tells much.\n\n    $ onecard can\n\n```\nonecard plan chat\n```\nand `onecard doctor`; onecard is"
    assert sorted(commands(page)) == ["can", "doctor", "plan chat"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_verb_and_flag_that_a_page_shows_exists(page):
    """`onecard plan chat --model x`: the verb, the workload and each flag are known to the program."""
    from click import Context, Group

    from onecard.cli import onecard

    for line in commands(page.read_text(encoding="utf-8")):
        words = line.replace("|", " | ").split()
        words = words[: words.index("|")] if "|" in words else words
        command = onecard.get_command(Context(onecard), words[0])
        assert command is not None, f"{page.name}: onecard {words[0]}"
        if isinstance(command, Group) and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]+", words[1]):
            command = command.get_command(Context(command), words[1])
        flags = {f for p in command.params for f in [*p.opts, *p.secondary_opts]} | {"--help", "-h"}
        flags |= {f for p in getattr(command, "shared", ()) for f in p.opts}
        for flag in re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", line):
            assert flag in flags, f"{page.name}: onecard {line}"


def test_the_changelog_names_the_version():
    import onecard

    assert f"## {onecard.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_names_a_path_of_a_machine():
    """The project speaks of itself alone."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    home = re.compile(r"(?:^|[\s\"'=(`])(/(?:root|work|home/(?!ada/)[a-z]+)/)")  # ada is made up
    for name in done.stdout.split():
        file = ROOT / name
        if file.suffix in (".py", ".md", ".toml", ".txt", ".yml") and file.exists() and "tests/fixtures" not in name:
            found = home.search(file.read_text(encoding="utf-8"))
            assert not found or file.name in ("test_docs.py",) or "machine" in name, f"{name}: {found and found[1]}"
