"""The score card on a terminal of ordinary width: nothing is cut off, areas are grouped, a busy machine is told of."""

import io

from rich.console import Console

from onecard.core.score import Score
from onecard.show.bench import figure, score_card

SCORES = [
    Score(area="finetune", name="smollm2 135M LoRA, 1 x 128 train", unit="tokens/s", median=1234.5, spread=0.417, samples=84,
          ceiling=5000.0, limit="arithmetic", predicted=(7354.0, 10000.0, 25448.0)),
    Score(area="arithmetic", name="matmul bf16 2048x2048x2048", unit="FLOP/s", median=2.03e11, spread=1.993, samples=50, ceiling=1e12),
    Score(area="arithmetic", name="matmul fp16 8192x8192x8192", unit="FLOP/s", median=2.03e14, spread=0.0, samples=1, ceiling=1e14),
    Score(area="launches", name="launch", unit="s", median=3.4e-6, spread=0.1, samples=9, busy="the processor was 90% busy"),
]  # fmt: skip


def lines(scores, width=110):
    text = io.StringIO()
    Console(file=text, width=width).print(score_card("card", scores))
    return text.getvalue().splitlines()


def test_nothing_is_cut_off_and_areas_are_grouped():
    found = lines(SCORES)
    text = "\n".join(found)
    assert "…" not in text
    for piece in (
        "203 GFLOP/s",
        "203 TFLOP/s",
        "199.3% of 50",
        "203%",
        "25% arithmetic",
        "outside 7,354 to 25,448",
        "3.40 µs",
    ):
        assert piece in text, piece
    heads = [line.strip() for line in found if line.strip() in ("arithmetic", "launches", "finetune")]
    assert heads == ["arithmetic", "launches", "finetune"], "parts of the device first, each once"
    assert "90% busy" in text


def test_figures_have_the_unit_that_fits_them():
    assert figure(9.5e11, "FLOP/s") == "950 GFLOP/s" and figure(1.2e12, "FLOP/s") == "1.20 TFLOP/s"
    assert (
        figure(3.2e9, "B/s") == "3.20 GB/s"
        and figure(0.25, "s") == "250 ms"
        and figure(4.2, "tokens/s") == "4.20 tokens/s"
    )
