"""Channels last survives a convolution on fake CUDA, as it does with cuDNN; contiguous images stay contiguous."""

import pytest

torch = pytest.importorskip("torch")

from onecard.tracing.profiles import DEFAULT
from onecard.tracing.session import trace_steps


@pytest.mark.parametrize("last", [True, False])
def test_layout_of_results_and_gradients(last):
    seen = {}

    def make():
        layout = torch.channels_last if last else torch.contiguous_format
        net = torch.nn.Conv2d(8, 16, 3, padding=1).cuda().to(memory_format=layout)
        images = torch.zeros(2, 8, 12, 12, device="cuda").contiguous(memory_format=layout).requires_grad_()

        def step():
            out = net(images)
            seen["out"] = out.is_contiguous(memory_format=torch.channels_last)
            out.sum().backward()
            seen["grad"] = images.grad.is_contiguous(memory_format=torch.channels_last)

        return step

    cost = trace_steps(make, DEFAULT, steps=1).cost()
    assert seen == {"out": last, "grad": last}
    kernels = {o.kernel for p in cost.phases for o in p.operations if o.kind == "convolution"}
    assert ("cudnn/nhwc" in kernels) == last
