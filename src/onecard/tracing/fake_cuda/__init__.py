"""A PyTorch without a card that accepts fake tensors on `cuda`, and answers as a card of a given class would.

Each patch cures one symptom, and its file says which:

    native.py       C++: device guard and accelerator hooks
    card.py         what torch.cuda answers
    parameters.py   Module.to("cuda"), foreach and fused optimizers
    attention.py    the kernel of scaled_dot_product_attention
    host.py         generators and pinned memory
    layout.py       channels last through convolutions
    compiled.py     torch.compile and CUDA graphs run eagerly, and the result says so
    quantized.py    layers and optimizers of bitsandbytes
    pretrained.py   from_pretrained makes the model from its configuration
    folded_loss.py  TRL's loss, which is a Triton kernel
    disguise.py     libraries that do otherwise when they see a fake tensor
    metas.py        operators whose CUDA kernel has no fake
    check.py        for which versions this was verified, and a trial in a process of its own
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from onecard.tracing.profiles import Profile

if TYPE_CHECKING:
    from onecard.tracing.storages import Storages  # imports torch; the parent process asks only for check.py


@contextlib.contextmanager
def fake_cuda(profile: Profile, storages: "Storages", note: Callable[[str], None]) -> Iterator[Counter[str]]:
    """All patches, for one trace. Yields how often each attention kernel was taken.

    storages: what the trace sees.  note: takes what the user should be told.
    Raises NotPatchable where this PyTorch is not what the patches were written for.
    """
    import torch
    import torch._dynamo  # reads torch.cuda when it is imported, and must see the original
    from torch._subclasses import fake_tensor

    from onecard.tracing.fake_cuda import native
    from onecard.tracing.fake_cuda.attention import attention
    from onecard.tracing.fake_cuda.card import card
    from onecard.tracing.fake_cuda.compiled import eagerly
    from onecard.tracing.fake_cuda.disguise import disguised
    from onecard.tracing.fake_cuda.folded_loss import folded_loss
    from onecard.tracing.fake_cuda.host import host
    from onecard.tracing.fake_cuda.layout import backend_layout
    from onecard.tracing.fake_cuda.metas import missing_metas
    from onecard.tracing.fake_cuda.parameters import horizontal_optimizers, movable_parameters
    from onecard.tracing.fake_cuda.patching import replaced
    from onecard.tracing.fake_cuda.pretrained import without_weights
    from onecard.tracing.fake_cuda.quantized import quantized

    native.install()
    with (
        card(profile, lambda: storages.live, storages.cache_dropped),
        # torch would initialise the device that we only pretend to have
        replaced(fake_tensor, init_gpu_context=lambda device: None),
        replaced(fake_tensor.FakeTensorMode, avoid_device_init=property(lambda mode: True)),
        replaced(
            torch._C,
            _conv_determine_backend_memory_format=backend_layout(torch._C._conv_determine_backend_memory_format),
        ),
        movable_parameters(),
        horizontal_optimizers(),
        host(),
        eagerly(note),
        quantized(storages),
        folded_loss(note),
        without_weights(note),
        missing_metas(),
        disguised(),
        # the engine's device threads outlive the interpreter ("terminate called without an active exception"), and one
        # thread makes the order of events the same every time
        torch.autograd.set_multithreading_enabled(False),
        attention(profile) as taken,
    ):
        yield taken
