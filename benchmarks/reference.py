"""Writes docs/reference.md: every verb and every setting, from the very texts that --help shows.

    python benchmarks/reference.py [--check]

--check writes nothing and exits 1 where the page is not current; a test calls it.
"""

import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"


def reference() -> str:
    import click

    from onecard.cli import VERBS, onecard
    from onecard.core.settings import fields
    from onecard.workloads import get, names, title

    lines = ["# Reference", "", "Made by `make docs` from the texts that `--help` shows.", "", "## Verbs", ""]
    context = click.Context(onecard, info_name="onecard")
    for verb in onecard.list_commands(context):
        command = onecard.get_command(context, verb)
        assert command is not None
        lines += [f"### onecard {verb}", "", VERBS[verb][0].upper() + VERBS[verb][1:] + ".", ""]
        lines += [f"- `{usage(p)}`: {p.help}" for p in shared(command) if isinstance(p, click.Option) and p.help]
        lines.append("")
    lines += ["## Workloads and their settings", ""]
    for name in names():
        lines += [
            f"### {name}",
            "",
            title(name) + ".",
            "",
            "| setting | type | default | what it is |",
            "|---|---|---|---|",
        ]
        for field in fields(get(name).settings):
            kind = ", ".join(map(str, field.options)) if field.options else field.type.__name__
            default = (
                "required" if field.required else "the planner chooses" if field.default is None else field.default
            )
            lines.append(f"| `{field.name}` | {kind} | {default} | {field.help.replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)


def shared(command):
    """Options of a verb; for a group of workloads those that do not come from settings."""
    return getattr(command, "shared", command.params)


def usage(option) -> str:
    flags = "/".join([*option.opts, *option.secondary_opts])
    return flags if option.is_flag else f"{flags} {(option.metavar or option.type.name).upper()}"


def main() -> None:
    text = reference()
    if "--check" in sys.argv:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print("docs/reference.md is current" if current else "docs/reference.md is not current: make docs")
        sys.exit(0 if current else 1)
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
