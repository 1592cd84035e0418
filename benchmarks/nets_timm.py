"""Training steps of timm's benchmark script (2022, PyTorch 1.12): fp16 autocast, SGD with momentum, random images.

timm imports torchvision for its data loading, which a trace never touches; where torchvision is not installed, empty
classes stand in for its names. Source: benchmark.py of pytorch-image-models, BenchmarkRunner and TrainBenchmarkRunner.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class _Empty(type):
    """A class any of whose attributes is its own name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if fullname.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


def library(fused: bool) -> Any:
    """timm, with or without torchvision; fused attention came with PyTorch 2."""
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.insert(0, _Finder())
    import timm

    timm.layers.set_fused_attn(fused)

    return timm


def build(model: str, batch: int, size: int, channels_last: bool = False, train: bool = True) -> Callable[[], Any]:
    """One training step, or one forward pass."""
    timm = library(fused=not train)
    with torch.device("cuda"):
        net = timm.create_model(model)
    net = net.to("cuda")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.zeros(batch, 3, size, size, device="cuda").contiguous(memory_format=layout)
    net = net.to(memory_format=layout)
    if not train:
        net.eval()

        def infer() -> Tensor:
            with torch.no_grad(), torch.autocast("cuda", dtype=torch.float16):
                return net(images)

        return infer
    net.train()
    targets = torch.zeros(batch, dtype=torch.long, device="cuda")
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, foreach=False)
    loss = nn.CrossEntropyLoss()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", dtype=torch.float16):
            output = net(images)
        error = loss(output, targets)
        error.backward()
        optimizer.step()
        return error

    return step
