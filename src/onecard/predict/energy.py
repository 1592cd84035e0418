"""Energy of a run: its seconds times a share of the board's power limit that depends on what limits each phase.

Large matrix products hold a card at its power limit; streaming memory leaves most of the arithmetic idle, and a card that
waits for the host or the link draws little more than its clocks cost. The shares are a guess (no published row tells
watts by phase), the upper end is what the limit allows, and the meter of a run measures what it really was.
"""

from onecard.core.device import Device
from onecard.core.estimate import PhaseTime
from onecard.core.ranges import Range

SHARES = {"compute": 0.95, "bandwidth": 0.75, "dequantisation": 0.8, "launches": 0.45, "host": 0.4, "link": 0.3}
"""of the power limit, by limiter"""
OTHER = 0.7
LOWEST = 0.6
"""of the likely share: a card with slack in its cooling or a lower limit"""


def joules(time: dict[str, PhaseTime], limiters: dict[str, str], device: Device) -> Range | None:
    """Over all phases and repeats; None where the board's power limit is unknown."""
    if not device.power or not time:
        return None
    low = likely = high = 0.0
    for name, phase in time.items():
        share = SHARES.get(limiters.get(name, ""), OTHER)
        low += phase.seconds.low * phase.repeat * share * LOWEST
        likely += phase.seconds.likely * phase.repeat * share
        high += phase.seconds.high * phase.repeat
    return Range(low * device.power, likely * device.power, high * device.power)
