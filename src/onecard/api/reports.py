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
from onecard.core.score import Score

FORMATS = {".html": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


def gather(
    *,
    plans: Iterable[Plan] = (),
    records: Iterable[Record] | None = None,
    findings: Iterable[dict[str, Any]] | None = None,
    commands: Iterable[str] = (),
    title: str = "What this machine can do",
) -> Report:
    """A Report of this machine; by default with the newest fifty Records of the store and what the doctor finds.

    Steps of a benchmark become its score card; of several benchmarks the newest counts.
    """
    from onecard import machine
    from onecard.api.normality import opinions
    from onecard.machine.environment import environment

    known = tuple(_newest() if records is None else records)
    found = _doctor() if findings is None else tuple(findings)
    steps = [r for r in known if r.kind == "bench" and "bench" in r.effective]
    work = tuple(r for r in known if r not in steps)
    devices = machine.probe()
    return Report(
        title=title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        machine=tuple(msgspec.to_builtins(d) for d in devices),
        plans=tuple(plans),
        records=work,
        scores=_scores(steps),
        opinions={r.id: said for r in work if (said := opinions(r, work))},
        environment=environment(devices[0].kind),
        findings=found,
        commands=tuple(commands),
    )


def _newest(count: int = 50) -> tuple[Record, ...]:
    """The newest Records of work, and all steps of the newest benchmarks: these are many and would crowd the others out."""
    from onecard.store.records import find

    kinds = ("prove", "run", "resume")
    work = [r for kind in kinds for r in find(records_file(), kind=kind, limit=count)]
    work += find(records_file(), workload="endpoint", limit=count)
    work.sort(key=lambda r: r.started, reverse=True)
    return (*work[:count], *find(records_file(), workload="bench", limit=4 * count))


def _scores(steps: Iterable[Record]) -> tuple[Score, ...]:
    from onecard.api.benches import scores

    newest = max(steps, key=lambda r: r.started, default=None)
    if newest is None:
        return ()
    same = [r for r in steps if r.effective["bench"] == newest.effective["bench"]]
    return tuple(score for r in sorted(same, key=lambda r: r.started) for score in scores(r))


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


KEPT = frozenset(
    {
        "workload",
        "kind",
        "outcome",
        "verdict",
        "severity",
        "rule",
        "name",
        "unit",
        "area",
        "limit",
        "phase",
        "basis",
        "version",
        "versions",
    }
)
"""fields that hold words of this program or names of products: a user called "chat" must not take the workload away"""

SYSTEM = ("/dev", "/proc", "/sys", "/usr", "/etc", "/opt", "/lib", "/bin", "/var", "/run")
"""folders that every machine has: they name nobody, and findings speak of them"""

PATHS = re.compile(
    r"""(?<![\w.:/~\\])(?:/(?:[^\s/"',;:()]+/)+|[A-Za-z]:[\\/]+(?:[^\\/"',;:()\n]+[\\/]+)+)(?=[^\s/\\"',;:()]*)"""
)
"""the folders of an absolute path, without what stands in them"""


def redacted(content: Report) -> Report:
    """The same Report without names of people and machines and without folders: of a path its last part stays."""
    from onecard.machine.redact import redact_text

    user, host, home = getpass.getuser(), platform.node(), str(Path.home())

    def clean(value: Any, key: str = "") -> Any:
        if isinstance(value, str) and key not in KEPT:
            return PATHS.sub(_shortened, redact_text(value, user, host, home))
        if isinstance(value, dict):
            return {k: v if k in KEPT and not isinstance(v, str) else clean(v, k) for k, v in value.items()}
        return [clean(v, key) for v in value] if isinstance(value, list | tuple) else value

    shown = msgspec.convert(clean(msgspec.to_builtins(content)), Report)
    return msgspec.structs.replace(shown, records=tuple(_without_server(r) for r in shown.records))


def _shortened(folders: re.Match[str]) -> str:
    return folders[0] if folders[0].startswith(tuple(f"{place}/" for place in SYSTEM)) else ".../"


def _without_server(record: Record) -> Record:
    """A measured server's address names a machine of somebody's."""
    settings = record.plan.get("settings") or {}
    if record.plan.get("workload") != "endpoint" or "url" not in settings:
        return record
    hidden = {**settings, "url": re.sub(r"(?<=://)[^/]*", "server", str(settings["url"]))}
    changed = {"plan": {**record.plan, "settings": hidden}, "requested": hidden if record.requested else {}}
    return msgspec.structs.replace(record, error=record.error.replace(str(settings["url"]), hidden["url"]), **changed)
