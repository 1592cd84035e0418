"""What a card by name keeps for itself before any work starts: the difference between its memory and what work may hold.

Three rules, by kind of card:

- NVIDIA, AMD and Intel driver: 150 MiB and 0.9 % of the total. NVML's total counts memory that the driver keeps and
  that cudaMemGetInfo, the total which PyTorch prints in its out-of-memory message, leaves out: 12,288 against about 12,042 MiB on an
  RTX 3060, 24,576 against 24,268 on an RTX 3090, 24,564 against 24,217 on an RTX 4090, 49,140 against 48,539 on an
  RTX A6000, 81,559 against 81,008 on an H100. The rule gives 261, 371, 371, 592 and 884 MiB: it errs by keeping more.
- A desktop on top of it for cards with a display (GeForce, Radeon RX, Arc, laptops): 400 MiB, the compositor and browser of an idle
  Linux or Windows desktop at 2,560 x 1,440. Server and professional cards are taken as headless.
- Apple: Metal's recommendedMaxWorkingSetSize, the limit that llama.cpp prints and a process may not pass unless
  `sysctl iogpu.wired_limit_mb` raises it: two thirds of the memory up to 32 GiB, three quarters above (10,922 of 16,384
  MiB; 21,845 of 32,768; 27,648 of 36,864; 49,152 of 65,536; 147,456 of 196,608). macOS 15 and later allow more (25,559
  of 32,768; 53,084 of 65,536): the rule keeps the older, lower limit.

A probed machine knows what is free and needs no rule.
"""

from onecard.core.units import GiB, MiB

DRIVER = 150 * MiB
DRIVER_SHARE = 0.009
DESKTOP = 400 * MiB


def reserved(kind: str, use: str, total: int) -> int:
    """Bytes kept on a card of `total` bytes; `use` is geforce, laptop, pro, server or unified."""
    if kind == "metal" or use == "unified":
        return total // 3 if total <= 32 * GiB else total // 4
    driver = DRIVER + int(total * DRIVER_SHARE)
    return driver + (DESKTOP if use in ("geforce", "laptop") else 0)
