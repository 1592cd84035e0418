"""Cards and models as facts with a source each. The names below are resolved on first use: importing costs nothing.

card, find_device: cards.py (which also lists all of them), numbers.py. model and find_model are one function: any name,
file, folder or hub id (lookup.py).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onecard.catalog.cards import card, card_names
    from onecard.catalog.lookup import find_device, find_model
    from onecard.catalog.lookup import find_model as model
    from onecard.catalog.models import has_model, model_names
    from onecard.catalog.numbers import device_from_numbers

__all__ = [
    "card",
    "card_names",
    "device_from_numbers",
    "find_device",
    "find_model",
    "has_model",
    "model",
    "model_names",
]

_HOMES = {
    "card": "cards",
    "card_names": "cards",
    "device_from_numbers": "numbers",
    "find_device": "lookup",
    "find_model": "lookup",
    "has_model": "models",
    "model": "lookup",
    "model_names": "models",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), "find_model" if name == "model" else name)
