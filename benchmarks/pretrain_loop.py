"""Tokens per second of `pretrain` against a plain PyTorch loop of the same net, in one run, taking turns.

    python benchmarks/pretrain_loop.py [--depth 4] [--rounds 10]

The plain loop is what one writes by hand: random windows, forward, backward, clip, AdamW, the learning rate by formula. The
workload's loop adds a log of losses, progress, and the look at the clock. Both use the same net, types and batch; a round is some
steps of the one and then of the other, so that whatever else the machine does hits both. Exit 1 below --at-least.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from onecard.core.settings import make
from onecard.engines import corpus, course
from onecard.engines.gpt_run import reader
from onecard.nets.gpt import GPT, Shape
from onecard.workloads import pretrain


class Silent:
    """A Session that tells nobody: the events are made and dropped."""

    def __init__(self, folder):
        self.folder = folder

    def emit(self, event, **values):
        pass

    def progress(self, done, of, unit, **shown):
        pass


def wait(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def plain(settings, tokens, device):
    """A hand-written loop: returns a function that does n steps."""
    c = pretrain.course_of(settings)
    s = c.shape
    torch.manual_seed(settings.seed)
    shape = Shape(vocab=s.vocab, context=s.context, depth=s.depth, width=s.width, heads=s.heads, ffn=s.ffn)
    net = GPT(shape, dtype=torch.bfloat16 if settings.precision == "bf16" else torch.float32).to(device)
    forward = torch.compile(net) if settings.compile and device.startswith("cuda") else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=c.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    at = 0

    def steps(count):
        nonlocal at
        for _ in range(count):
            for group in optimizer.param_groups:
                group["lr"] = course.learning_rate(at, steps=c.steps, warmup=c.warmup, peak=c.learning_rate)
            starts = torch.randint(len(tokens) - s.context, (c.batch,), device="cpu").tolist()
            batch = torch.stack([tokens[i : i + s.context + 1] for i in starts]).long().to(device)
            for part in batch.split(c.micro):
                loss = forward(part[:, :-1], part[:, 1:]) * (len(part) / c.batch)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            at += 1
        wait(device)

    return steps


def ours(settings, text, device, folder):
    """The workload's own step with its log, as its run does it."""
    state = pretrain.build(settings)
    c = state.course
    state.batch = reader(text, c.batch, c.shape.context, seed=settings.seed, device=device)
    log = course.LossLog(Silent(folder), unit="tokens", units_per_step=c.tokens_per_step, flops_per_step=1.0, peak=1.0)
    watch = course.Watch(3600.0)

    def steps(count):
        for _ in range(count):
            loss = pretrain.step(state)
            log.step(state.step, state.optimizer.param_groups[0]["lr"], loss, c.steps)
            assert not watch.over
            assert watch.unsaved < 3600
        wait(device)

    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=2, help="of each loop in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--at-least", type=float, default=0.98)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # On a CPU that others use too, seconds of this process are what can be compared; on a GPU the wall clock.
    clock = time.process_time if device == "cpu" else time.perf_counter
    torch.set_default_device(device)
    torch.set_num_threads(options.threads)
    values = {"depth": options.depth, "aspect": 32, "head_dim": 32, "context": 128, "batch": 16, "micro_batch": 16}
    settings = make(pretrain.Settings, {**values, "steps": 100_000, "tokenizer": "characters", "checkpointing": False})
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "text.txt"
        source.write_text((corpus.standard_library() / "argparse.py").read_text() * 4)
        text = corpus.prepare(str(source), Path(place) / "corpus", seed=1, vocab=257, context=128)
        loops = {"plain": plain(settings, text.train, device), "onecard": ours(settings, text, device, Path(place))}
        taken = {name: [] for name in loops}
        for number in range(options.rounds + 1):
            # the order changes from round to round; the first round warms up
            for name in sorted(loops, reverse=bool(number % 2)):
                start = clock()
                loops[name](options.steps)
                if number:
                    taken[name].append(clock() - start)
    tokens = pretrain.course_of(settings).tokens_per_step * options.steps
    for name, seconds in taken.items():
        print(f"{name:8} {tokens / statistics.median(seconds):>12,.0f} tokens/s (median of {len(seconds)} rounds)")
    ratio = sum(taken["plain"]) / sum(taken["onecard"])
    print(f"ratio onecard / plain {ratio:.3f} (at least {options.at_least}), {device}, {options.threads} threads")
    sys.exit(ratio < options.at_least)


if __name__ == "__main__":
    main()
