"""Traces in this process: PyTorch on fake tensors of a fake card, all patches undone afterwards."""

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("torch")


@pytest.fixture
def trace_of() -> Iterator[Callable]:
    """trace_of(build, card_class="sm_89", **options): the Trace of two steps."""
    from onecard.tracing.profiles import profile
    from onecard.tracing.session import trace_steps

    def traced(build, card_class="sm_89", **options):
        return trace_steps(build, profile(card_class), **options)

    yield traced
