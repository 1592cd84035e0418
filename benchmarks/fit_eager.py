"""Shares of eager kernels (predict/eager.py), read from published steps of timm and held against the others.

    python benchmarks/fit_eager.py          errors by card, layout and kind of net, with the committed shares
    python benchmarks/fit_eager.py --fit    a small grid over the shares of convolutions, on one card's rows

The RTX 3090's rows are read (attention nets: matmul and streaming; nets of convolutions with channels last: cuDNN); the RTX
4090's and 5090's rows, and images that lie channel by channel, are not, except for the matrix units' share of each card.
"""

import argparse
import itertools
import statistics
import sys

import published_frame as frame
import published_training

from onecard.predict import eager

ATTENTION = ("vit", "deit", "swin", "beit", "mixer", "convnext")


def rows() -> list[frame.Row]:
    """Published timm steps that are traced."""
    found = []
    for row in frame.read(frame.HERE / "measurements"):
        if row.file == "speed" and row["task"] in ("cnn_training", "cnn_inference") and "timm" in row["source"]:
            try:
                published_training.MAPPERS["speed", row["task"]](row)
            except frame.Unmapped:
                continue
            found.append(row)
    return found


def error(row: frame.Row) -> float:
    """predicted / measured - 1"""
    mapped = published_training.MAPPERS["speed", row["task"]](row)
    return mapped.predicted.likely / mapped.measured - 1


def group(row: frame.Row) -> tuple[str, str, str, str]:
    """(card, task, layout, kind of net)"""
    net = "attention" if row["model"].startswith(ATTENTION) else "convolution"
    return row["gpu"], row["task"], "nhwc" if "nhwc" in row["software"] else "nchw", net


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true")
    given = parser.parse_args(arguments)
    found = rows()
    if given.fit:
        read = [r for r in found if group(r)[0] == "RTX 3090" and group(r)[2:] == ("nhwc", "convolution")]
        best: list[tuple[float, tuple[float, float]]] = []
        for values in itertools.product((0.8, 0.9, 1.0, 1.15, 1.3, 1.5), (16.0, 32.0, 64.0)):
            eager.CONVOLUTION, eager.PIPELINE = values
            best.append((statistics.mean(abs(error(r)) for r in read), values))
        for mean, values in sorted(best)[:6]:
            print(f"{mean:6.1%}  share {values[0]}, pipeline {values[1]}")
        return 0
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for row in found:
        groups.setdefault(group(row), []).append(error(row))
    print(f"{'card':10} {'task':14} {'layout':6} {'nets':12} {'rows':>4} {'median':>8} {'signed':>8} {'p90':>8}")
    for key, errors in sorted(groups.items()):
        size = sorted(map(abs, errors))
        tail = size[int(0.9 * (len(size) - 1))]
        print(
            f"{key[0]:10} {key[1]:14} {key[2]:6} {key[3]:12} {len(errors):4} {statistics.median(size):8.1%} "
            f"{statistics.median(errors):+8.1%} {tail:8.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
