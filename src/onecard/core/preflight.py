"""What must hold before a container starts, checked one by one."""

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One condition. ok None: it could not be found out."""

    name: str
    ok: bool | None
    evidence: str
    next: str = ""


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions and the command that would be typed; nothing was started."""

    model: str
    checks: tuple[Check, ...]
    command: str

    @property
    def ready(self) -> bool:
        """No condition fails; what could not be found out is for the user to know."""
        return all(check.ok is not False for check in self.checks)
