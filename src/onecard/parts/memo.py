"""Results remembered per model: a Model holds dictionaries and is not hashable, so its identity is the key.

The value keeps its model alive, so that an identity is never reused while it is remembered. Bounded: the oldest entry goes first.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from onecard.core.model import Model

P = ParamSpec("P")
R = TypeVar("R")

LIMIT = 512


def per_model(function: Callable[Concatenate[Model, P], R]) -> Callable[Concatenate[Model, P], R]:
    """Remember function(model, *hashable arguments) by the model's identity."""
    known: dict[tuple[object, ...], tuple[Model, R]] = {}

    @wraps(function)
    def remembered(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (id(model), *args, *kwargs.items())
        found = known.get(key)
        if found is None:
            if len(known) >= LIMIT:
                known.pop(next(iter(known)), None)
            found = known[key] = (model, function(model, *args, **kwargs))
        return found[1]

    return remembered
