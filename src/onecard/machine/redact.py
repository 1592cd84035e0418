"""Facts that can be shown to strangers: names of users and hosts, home folders, serial numbers and UUIDs replaced.

Done on every text in them, not on chosen fields: a name also hides in paths, in environment variables and in kernel
lines. The names of fields stay: a user called "torch" must not take the field of that name away.
"""

import re
from typing import Any

import msgspec

from onecard.machine.facts import Facts

UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")
ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
HOMES = re.compile(r"(?P<before>/home/|/Users/)(?P<name>[^/\"',:; ]+)")
WINDOWS_HOMES = re.compile(r"(?P<before>(?:/mnt/[a-z]/|[A-Za-z]:[\\/]+)Users[\\/]+)(?P<name>[^/\\\"',;]+)")
"""Names on Windows may hold spaces."""
SERIAL = re.compile(r"(?i)(serial[\w ]*[:=] ?)([\w-]{6,})")

KEPT = frozenset({"schema", "taken", "system", "architecture", "container", "python", "packages", "installers", "files", "modules",
                  "adapters", "sets", "driver", "driver_module", "governor"})  # fmt: skip
"""Fields that hold versions and names of products only"""

COMMON = frozenset(
    {
        "cuda",
        "rocm",
        "card",
        "root",
        "user",
        "admin",
        "home",
        "ubuntu",
        "nvidia",
        "torch",
        "linux",
        "windows",
        "docker",
        "python",
        "local",
    }
)
"""Words that name nobody and stand in paths of every machine."""


def redact_text(text: str, user: str | None, host: str | None, home: str | None) -> str:
    """One text without the private names."""
    if home and len(home) > 3:
        text = text.replace(home, "~")
    for homes in (WINDOWS_HOMES, HOMES):
        text = homes.sub(lambda m: m["before"] + "<user>", text)
    for name, shown in ((user, "<user>"), (host, "<host>")):
        if name and len(name) > 1 and name.lower() not in COMMON:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown, text)
    return SERIAL.sub(r"\1<serial>", MAC.sub("<mac>", UUID.sub("<uuid>", text)))


def redact(facts: Facts) -> Facts:
    """The same machine, nobody's. Versions and addresses of the PCI bus stay: the rules need them."""
    fields = msgspec.to_builtins(facts)

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return redact_text(value, facts.user, facts.host, facts.home)
        if isinstance(value, dict):
            # Names of fields, packages and variables stay; a folder as a name (of a library copy) does not.
            return {clean(k) if "/" in k or "\\" in k else k: clean(v) for k, v in value.items()}
        return [clean(v) for v in value] if isinstance(value, list | tuple) else value

    kept = {k: v if k in KEPT else clean(v) for k, v in fields.items()}
    kept |= {"kernel_log": [ADDRESS.sub("<address>", line) for line in kept.get("kernel_log", ())]}
    kept |= {"user": facts.user and "<user>", "host": facts.host and "<host>", "home": facts.home and "~"}
    return msgspec.convert(kept, Facts)
