"""Optional libraries: import one when it is needed, or answer with the one command that installs it."""

import importlib
import importlib.util
from typing import Any

from onecard.core.errors import MissingExtra


def has(module: str) -> bool:
    """Whether a library is installed; does not import it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def require(module: str, purpose: str, extra: str) -> Any:
    """The imported library. Raises MissingExtra: require("torch", "to pretrain a GPT", "llm")."""
    if not has(module.partition(".")[0]):
        raise MissingExtra(module.partition(".")[0], purpose, extra)
    return importlib.import_module(module)
