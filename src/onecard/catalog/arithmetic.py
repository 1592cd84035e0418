"""Dense peak rates of a chip's matrix units as multiples of its FP32 rate (2 x cores x boost clock).

NVIDIA's makers' papers give tensor-core operations per SM and clock; the FP32 rate gives SMs and clock, so that one
multiple a generation does for all its cards, where a data sheet does not say otherwise (cards.csv overrides):

- Volta, Turing (64 FP32 lanes a SM): 512 FP16 FMA a SM and clock = 8 x FP32; GeForce halves the rate when it sums in
  FP32 (Turing whitepaper WP-09183, table 4; NVIDIA forum thread 294400).
- GA10x, Ada, GeForce Blackwell (128 lanes): 512 FMA = 4 x FP32 when summing in FP16, half of that in FP32 on GeForce,
  full on RTX A and RTX Ada cards; TF32 half of FP16, INT8 twice the full rate, FP8 twice FP16 at the same accumulator
  (GA102 whitepaper, tables 2 and 3; Ada whitepaper, appendix A). A measured 3090 Ti reaches 81 TFLOP/s over 40 FP32.
  Blackwell's are derived in the same way and unchecked.
- GA100: 1,024 FMA = 16 x FP32 with 64 lanes (A100 whitepaper, table 1). Hopper: 4,096 a SM and clock over 128 lanes
  would be 16 x as well, but the data sheet counts a lower clock, so that each row has its own figures.
- Pascal: no matrix units. GP102 to GP107 run FP16 at 1/64 (programming guide, arithmetic throughput): no key, it is no
  way to compute; GP100 at twice FP32. INT8 dot products (dp4a) at 4 x from GP102 on. GTX 16: FP16 pairs, dp4a.
- RDNA 2: packed FP16 2 x, dot products of INT8 4 x. RDNA 3: WMMA 512 FP16 FMA a CU pair = 2 x of the dual-issue FP32
  rate, INT8 the same; RDNA 4: twice that for FP16, INT8 and FP8 twice again (AMD product pages). CDNA: per row.
- Xe-HPG and Xe2: XMX 8 x FP32 for FP16 and BF16, 16 x for INT8 (Intel Arc product briefs).
- Apple M1 to M4: FP16 at the FP32 rate (simdgroup matrices run on the ordinary lanes).

A key that is missing means: no such unit, or not known.
"""

RULES: dict[str, dict[str, float]] = {
    "pascal": {"int8": 4},
    "pascal-gp100": {"fp16": 2, "fp16_acc16": 2},
    "volta": {"fp16": 8, "fp16_acc16": 8},
    "turing": {"fp16": 8, "fp16_acc16": 8, "int8": 16},
    "turing-geforce": {"fp16": 4, "fp16_acc16": 8, "int8": 16},
    "turing-gtx": {"fp16": 2, "fp16_acc16": 2, "int8": 4},
    "ampere-ga100": {"fp16": 16, "bf16": 16, "fp16_acc16": 16, "tf32": 8, "int8": 32},
    "ampere-geforce": {"fp16": 2, "bf16": 2, "fp16_acc16": 4, "tf32": 1, "int8": 8},
    "ampere-pro": {"fp16": 4, "bf16": 4, "fp16_acc16": 4, "tf32": 2, "int8": 8},
    "ada-geforce": {"fp16": 2, "bf16": 2, "fp16_acc16": 4, "tf32": 1, "int8": 8, "fp8": 4},
    "ada-pro": {"fp16": 4, "bf16": 4, "fp16_acc16": 4, "tf32": 2, "int8": 8, "fp8": 8},
    "ada-l40": {"fp16": 2, "bf16": 2, "fp16_acc16": 2, "tf32": 1, "int8": 4, "fp8": 4},
    "blackwell-geforce": {"fp16": 2, "bf16": 2, "fp16_acc16": 4, "tf32": 1, "int8": 8, "fp8": 4},
    "blackwell-pro": {"fp16": 4, "bf16": 4, "fp16_acc16": 4, "tf32": 2, "int8": 8, "fp8": 8},
    "hopper": {"fp16": 14.8, "bf16": 14.8, "fp16_acc16": 14.8, "tf32": 7.4, "int8": 29.6, "fp8": 29.6},
    "gcn5": {"fp16": 2, "fp16_acc16": 2},
    "rdna2": {"fp16": 2, "fp16_acc16": 2, "int8": 4},
    "rdna3": {"fp16": 2, "bf16": 2, "fp16_acc16": 2, "int8": 2},
    "rdna4": {"fp16": 4, "bf16": 4, "fp16_acc16": 4, "int8": 8, "fp8": 8},
    "cdna1": {"fp16": 8, "bf16": 4, "fp16_acc16": 8, "int8": 8},
    "cdna": {"fp16": 8, "bf16": 8, "fp16_acc16": 8, "int8": 8},
    "cdna3": {"fp16": 8, "bf16": 8, "fp16_acc16": 8, "tf32": 4, "int8": 16, "fp8": 16},
    "xe-hpg": {"fp16": 8, "bf16": 8, "fp16_acc16": 8, "int8": 16},
    "xe2": {"fp16": 8, "bf16": 8, "fp16_acc16": 8, "int8": 16},
    "apple": {"fp16": 1, "fp16_acc16": 1},
}


def rates(rule: str, fp32: float, read: dict[str, float]) -> dict[str, float]:
    """All rates in operations/s of a chip with this FP32 rate; `read` has those that a data sheet gives, which win.

    A figure read for fp16 also scales the units that keep a fixed ratio to it (bf16, fp16_acc16, tf32).
    """
    multiples = RULES[rule]
    found = {"fp32": fp32} | {unit: fp32 * factor for unit, factor in multiples.items()}
    if "fp16" in read and "fp16" in multiples:
        scale = read["fp16"] / found["fp16"]
        for unit in ("bf16", "fp16_acc16", "tf32"):
            if unit in multiples:
                found[unit] *= scale
    return found | read
