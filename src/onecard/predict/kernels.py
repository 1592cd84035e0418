"""Constants of kernels: the share of a device's peak that each family reaches, and what starting one costs.

This is the one place for such numbers. Each has a physical meaning and a source, or the script that fits it.
"""

import msgspec

from onecard.core.cost import Operation
from onecard.core.device import Device


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """How well one family of kernels uses one class of devices."""

    memory: float
    """share of the device's bandwidth that streaming reaches"""
    compute: float
    """share of the peak of `Operation.compute`"""
    latency: float
    """seconds from one kernel to the next on the device: launch gap, ramp and tail"""
    host: float
    """seconds the host needs to start one kernel"""
    spread: float
    """relative half-width of a prediction of one phase"""


GENERAL = Kernel(memory=0.75, compute=0.5, latency=3e-6, host=0.0, spread=0.35)
"""A streaming kernel on any device: 70 to 90 % of DRAM peak is what vendors' own copy tests show."""


def find(operation: Operation, device: Device) -> Kernel:
    """The constants for an operation on a device."""
    return GENERAL


def peak(device: Device, compute: str) -> float | None:
    """Operations per second of an arithmetic unit, or of the next best that the device has; None where unknown."""
    for unit in (compute, *FALLBACK.get(compute, ())):
        if unit in device.flops:
            return device.flops[unit]
    return None


FALLBACK = {
    "fp16_acc16": ("fp16", "bf16", "fp32"),
    "fp16": ("bf16", "fp32"),
    "bf16": ("fp16", "fp32"),
    "int8": ("fp16_acc16", "fp16", "bf16", "fp32"),
    "fp8": ("int8", "fp16", "bf16", "fp32"),
    "tf32": ("fp32",),
    "": ("fp16", "bf16", "fp32"),
}
"""what a kernel uses where the device lacks its unit"""
