"""A patch: one attribute replaced for a while. Undone in reverse order, whatever happens in between."""

import contextlib
from collections.abc import Iterator
from typing import Any

from onecard.tracing.fake_cuda.native import NotPatchable

_ABSENT = object()


@contextlib.contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Sets attributes of a module or class that must exist there. Raises NotPatchable where one does not: then this
    version of PyTorch has changed, and a patch that does nothing would be found much later."""
    before = {name: vars(owner).get(name, getattr(owner, name, _ABSENT)) for name in values}
    missing = [name for name, value in before.items() if value is _ABSENT]
    if missing:
        raise NotPatchable(f"{getattr(owner, '__name__', owner)} has no {', '.join(missing)}")
    own = {name: name in vars(owner) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            if own[name]:
                setattr(owner, name, value)
            else:
                delattr(owner, name)
