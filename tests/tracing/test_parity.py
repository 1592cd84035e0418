"""A step on fake tensors holds exactly what the same step holds for real, at the end of every phase and at its peak.

Both run on the CPU, where both can; the fake one with no data at all.
"""

import gc
import warnings

import pytest
import torch
from small_models import MODELS, plain

from onecard.tracing.storages import Storages
from onecard.tracing.tracker import FakeTrace, RealTrace, Watcher
from onecard.tracing.values import Values


def watched(make, fake):
    """[(phase, live bytes, peak bytes since the last phase)] of two steps."""
    gc.collect()
    storages = Storages("cpu")
    found = []

    def mark(phase):
        found.append((phase, storages.live, storages.peak))
        storages.reset_peak()

    watcher = Watcher(storages, values=Values() if fake else None)
    mode = FakeTrace(watcher) if fake else RealTrace(watcher)
    with warnings.catch_warnings(), torch.autograd.set_multithreading_enabled(False), plain(), mode:
        warnings.simplefilter("ignore")  # of libraries, about their own settings
        step = make("cpu")
        mark("built")
        for _ in range(2):
            step(mark)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_fake_step_holds_what_the_real_one_holds(name):
    if name in ("bert", "t5", "vit", "lora", "moe"):
        pytest.importorskip("transformers")
    if name == "unet":
        pytest.importorskip("diffusers")
    if name == "lora":
        pytest.importorskip("peft")
    torch.manual_seed(0)
    real = watched(MODELS[name], fake=False)
    assert real[0][1] > 0
    assert watched(MODELS[name], fake=True) == real
