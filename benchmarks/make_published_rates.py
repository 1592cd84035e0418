"""Writes src/onecard/data/published_rates.csv: what others measured with llama.cpp, for "is my speed normal?".

    python benchmarks/make_published_rates.py

One line a measurement of benchmarks/measurements/speed.csv: one card, one conversation, everything on the card. Card and
model are the catalogue's names; rows whose names the catalogue does not know are left out and counted.
"""

import csv
from pathlib import Path

from published_frame import Unmapped, read
from published_names import device_of, model

HERE = Path(__file__).parent
TARGET = HERE.parent / "src" / "onecard" / "data" / "published_rates.csv"
RATES = {"decode_speed": "decode_tokens_per_s", "prompt_speed": "prefill_tokens_per_s"}


def main() -> None:
    lines, left_out = [], 0
    for row in read(HERE / "measurements"):
        if not row.file.startswith("speed") or "llama.cpp" not in row["software"] or row["metric"] not in RATES:
            continue
        if row["n_gpu"] != "1" or row["batch"] not in ("1", ""):
            continue
        try:
            device, shape = device_of(row), model(row["model"])
        except Unmapped:
            left_out += 1
            continue
        rate = RATES[row["metric"]]
        lines.append((device.name, shape.name, row["precision"].lower(), rate, row["value"], row["year"], row["url"]))
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("device", "model", "quant", "rate", "value", "year", "url"))
        writer.writerows(sorted(lines))
    print(
        f"{len(lines)} rates of {len({line[0] for line in lines})} cards; {left_out} rows left out (unknown card or model)"
    )


if __name__ == "__main__":
    main()
