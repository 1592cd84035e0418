"""Facts that can be shown to strangers: names of users and hosts, home folders, serial numbers and UUIDs replaced.

Done on the whole text, not field by field: a name also hides in paths, in environment variables and in kernel lines.
"""

import re

import msgspec

from onecard.machine.facts import Facts, decode, encode

UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")
ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
HOMES = re.compile(
    r"(?P<before>/home/|/Users/|/mnt/[a-z]/Users/|[A-Za-z]:(?:\\\\|\\|/)Users(?:\\\\|\\|/))(?P<name>[^/\\\"',:; ]+)"
)
SERIAL = re.compile(r"(?i)(serial[\w ]*[:=] ?)([\w-]{6,})")

COMMON = frozenset(
    {"root", "user", "admin", "home", "ubuntu", "nvidia", "torch", "linux", "windows", "docker", "python", "local"}
)
"""Words that name nobody and stand in paths of every machine."""


def redact_text(text: str, user: str | None, host: str | None, home: str | None) -> str:
    """One text without the private names."""
    for private, shown in ((home, "~"), (home.replace("\\", "\\\\") if home else None, "~")):
        if private and len(private) > 3:
            text = text.replace(private, shown)
    text = HOMES.sub(lambda m: m["before"] + "<user>", text)
    for name, shown in ((user, "<user>"), (host, "<host>")):
        if name and len(name) > 1 and name.lower() not in COMMON:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown, text)
    return SERIAL.sub(r"\1<serial>", MAC.sub("<mac>", UUID.sub("<uuid>", text)))


def redact(facts: Facts) -> Facts:
    """The same machine, nobody's. Versions and addresses of the PCI bus stay: the rules need them."""
    text = redact_text(encode(facts).decode(), facts.user, facts.host, facts.home)
    kept = decode(text.encode())
    lines = tuple(ADDRESS.sub("<address>", line) for line in kept.kernel_log)
    return msgspec.structs.replace(
        kept,
        kernel_log=lines,
        user=None if facts.user is None else "<user>",
        host=None if facts.host is None else "<host>",
        home=None if facts.home is None else "~",
    )
