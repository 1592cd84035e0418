"""report: gather what is known of this machine into one Report, and write it as HTML, Markdown, JSON or CSV."""

import getpass
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from onecard import __version__
from onecard.core.errors import BadSetting
from onecard.core.places import records_file
from onecard.core.plan import Plan
from onecard.core.record import Record
from onecard.core.report import Report

FORMATS = {".html": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


def gather(
    *,
    plans: Iterable[Plan] = (),
    records: Iterable[Record] | None = None,
    findings: Iterable[dict[str, Any]] | None = None,
    commands: Iterable[str] = (),
    title: str = "What this machine can do",
) -> Report:
    """A Report of this machine; by default with the newest fifty Records of the store and what the doctor finds."""
    from onecard import machine
    from onecard.store.records import find

    known = find(records_file(), limit=50) if records is None else tuple(records)
    found = _doctor() if findings is None else tuple(findings)
    return Report(
        title=title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        machine=tuple(msgspec.to_builtins(d) for d in machine.probe()),
        plans=tuple(plans),
        records=known,
        findings=found,
        commands=tuple(commands),
    )


def _doctor() -> tuple[dict[str, Any], ...]:
    from onecard.api.machines import doctor

    return tuple(msgspec.to_builtins(f) for f in doctor().findings)


def report(path: str | Path, *, redact: bool = False, content: Report | None = None) -> Path:
    """Write a Report; the ending of the name chooses the form. Raises BadSetting for another ending.

    redact: without the user's name, the host's name and paths of the home folder, so that it can be shown to others.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise BadSetting(f'"{path.name}" has an unknown ending', next=f"one of {', '.join(FORMATS)}")
    content = gather() if content is None else content
    text = rendered(redacted(content) if redact else content, FORMATS[path.suffix.lower()])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def rendered(content: Report, form: str) -> str:
    """html, markdown, json or csv."""
    if form == "html":
        from onecard.show.report_html import report_html

        return report_html(content)
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
    from onecard.show import report_text

    return report_text.report_csv(content) if form == "csv" else report_text.report_markdown(content)


def redacted(content: Report) -> Report:
    """The same Report without names of people and machines and without paths below the home folder."""
    text = msgspec.json.encode(content).decode()
    home = str(Path.home())
    # As they stand inside JSON: backslashes of Windows paths are doubled there.
    for path in {home, home.replace("\\", "\\\\"), home.replace("\\", "/")} - {"/", ""}:
        text = text.replace(path, "~")
    for name, word in ((getpass.getuser(), "user"), (platform.node(), "host")):
        if len(name) > 1:
            text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", word, text)
    return msgspec.json.decode(text, type=Report)
