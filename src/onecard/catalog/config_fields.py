"""Reading fields of a config.json under any of their spellings, and collecting all that are missing before complaining."""

from collections.abc import Mapping
from typing import Any

from onecard.core.errors import BadFile

_LARGEST = 1 << 40
"""No width or count of a network comes near; a larger number is a broken file."""


class Fields:
    """The fields of one config with defaults of its family; `where` names the file in errors."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.defaults = defaults
        self.where = where
        self._missing: list[str] = []

    def get(self, *names: str) -> Any:
        """The first spelling that is present and not null; the family's default only where all are absent: null is said."""
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        if any(name in self.values for name in names):
            return None
        return next((self.defaults[name] for name in names if name in self.defaults), None)

    def integer(self, *names: str) -> int | None:
        """A count or width, or None where absent. Raises BadFile for anything but a positive whole number."""
        value = self.get(*names)
        if value is None or value is False:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
            raise BadFile(f"{self.where}: {names[0]} is {value!r}, not a whole number")
        return int(value)

    def need(self, *names: str) -> int:
        """A positive count or width. A missing one is remembered for `check`, and 1 stands in for it until then."""
        value = self.integer(*names)
        if value is None:
            self._missing.append(names[0])
            return 1
        if value == 0:
            raise BadFile(f"{self.where}: {names[0]} is 0")
        return value

    def check(self, kind: str) -> None:
        """Raises BadFile naming every needed field that was missing."""
        if self._missing:
            many = "fields" if len(self._missing) > 1 else "field"
            raise BadFile(
                f"{self.where} lacks the {many} {', '.join(dict.fromkeys(self._missing))}",
                why=f'a model of model_type "{kind}" cannot be sized without',
                next="take the complete config.json of the model",
            )
