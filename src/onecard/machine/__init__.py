"""This machine: its devices, what they do now, what is wrong with them.

from onecard import machine
machine.probe()         all devices, GPUs first, the CPU last
machine.this_device()   the one that work goes to by default
machine.measure()       bandwidth and arithmetic of the CPU, once, remembered
machine.look()          how much of that it reaches now
"""

from onecard.machine.devices import cpu_device, is_measured, look, measure, probe, this_device

__all__ = ["cpu_device", "is_measured", "look", "measure", "probe", "this_device"]
