"""Births and deaths of storages, in order: the raw material of every memory figure.

A weak reference on a storage fires at the moment when C++ frees it, whoever held it: Python, the autograd graph, a
saved tensor of a custom function. So lifetimes need no analysis; they are observed.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from onecard.core.cost import Events


class Birth(weakref.ref[torch.UntypedStorage]):
    """A storage that lives: its address, number and size."""

    __slots__ = ("address", "number", "size")
    address: int
    number: int
    size: int


class Storages:
    """Every storage of one device that was seen, by number.

    device: "cuda" for a trace, "cpu" to watch a real run.
    """

    def __init__(self, device: str = "cuda") -> None:
        self.device = device
        self.sizes: list[int] = []
        self.order: list[int] = []
        self.categories: list[str] = []
        self.modules: list[str] = []
        self.operators: list[str] = []
        self.marks: list[tuple[int, str]] = []
        self.cache_drops: list[int] = []
        self.managed = 0
        """bytes of memory that moves between card and host by itself (cudaMallocManaged), outside the allocator"""
        self.live = 0
        """bytes of all living storages"""
        self.peak = 0
        """largest `live` since the last reset_peak"""
        self.closed = False
        self._alive: dict[int, Birth] = {}
        self._on_death: Callable[[Any], None] = self._died

    def see(self, tensor: torch.Tensor, category: str, module: str, operator: str) -> bool:
        """Notes the storage of a tensor if it is new (or was resized). True: it is new."""
        if tensor.device.type != self.device or tensor.layout is not torch.strided:
            return False
        storage = tensor.untyped_storage()
        address = storage._cdata
        known = self._alive.get(address)
        size = storage.nbytes()
        if known is not None and known() is not None:
            if known.size == size:
                return False
            self._free(known)  # resized in place: the allocator sees a new block and then the end of the old one
        if not size:
            return False
        number = self._add(size, category, module, operator)
        birth = Birth(storage, self._on_death)
        birth.address, birth.number, birth.size = address, number, size
        self._alive[address] = birth
        return True

    def scratch(self, size: int, category: str, module: str, operator: str) -> int:
        """Memory that belongs to no tensor. Returns its number, for `release`."""
        return self._add(size, category, module, operator)

    def release(self, number: int) -> None:
        """The end of scratch memory."""
        self.order.append(number)
        self.live -= self.sizes[number]

    def tag(self, tensors: Iterable[torch.Tensor], category: str) -> None:
        """What these tensors turned out to be."""
        for tensor in tensors:
            number = self.number(tensor)
            if number is not None:
                self.categories[number] = category

    def number(self, tensor: torch.Tensor) -> int | None:
        """The number of a tensor's storage; None for a tensor of another device or one that was never seen."""
        if tensor.device.type != self.device or tensor.layout is not torch.strided:
            return None
        known = self._alive.get(tensor.untyped_storage()._cdata)
        return known.number if known is not None else None

    def mark(self, phase: str) -> None:
        """A phase begins."""
        self.marks.append((len(self.order), phase))

    def close(self) -> None:
        """What dies from now on dies because the program was ended from outside: no more is noted."""
        self.closed = True

    def cache_dropped(self) -> None:
        """The program called torch.cuda.empty_cache()."""
        self.cache_drops.append(len(self.order))

    def reset_peak(self) -> None:
        """The peak counts from now on."""
        self.peak = self.live

    def events(self) -> Events:
        """All of it as a value."""
        names: dict[tuple[str, str, str], int] = {}
        rows = zip(self.categories, self.modules, self.operators, strict=True)
        labels = tuple(names.setdefault(row, len(names)) for row in rows)
        return Events(
            sizes=tuple(self.sizes),
            order=tuple(self.order),
            labels=labels,
            names=tuple(names),
            marks=tuple(self.marks),
            cache_drops=tuple(self.cache_drops),
        )

    def _add(self, size: int, category: str, module: str, operator: str) -> int:
        number = len(self.sizes)
        self.sizes.append(size)
        self.order.append(number)
        self.categories.append(category)
        self.modules.append(module)
        self.operators.append(operator)
        self.live += size
        if self.live > self.peak:
            self.peak = self.live
        return number

    def _died(self, birth: Birth) -> None:
        if self.closed:
            return
        if self._alive.get(birth.address) is birth:
            self._free(birth)

    def _free(self, birth: Birth) -> None:
        del self._alive[birth.address]
        self.order.append(birth.number)
        self.live -= birth.size
