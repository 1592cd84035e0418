"""Seconds of one optimizer step of `finetune` against plain TRL with the same settings, in one run, taking turns.

    python benchmarks/finetune_loop.py [--steps 6] [--rounds 8]

Plain TRL is SFTTrainer as one writes it down: same model, data, adapters, batch and optimizer; no Session, no phases, no
callback. Each trains from the start in its turn, evaluation and saving left out on both sides. Exit 1 below --at-least.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch

from onecard.core.settings import make
from onecard.engines.sft import trainer_of
from onecard.engines.sft_synthetic import _tokenizer
from onecard.engines.synthetic_torch import empty_model, fill
from onecard.engines.transformers_config import config_of
from onecard.workloads import finetune


class Silent:
    """A Session that tells nobody."""

    stopping = False

    def __init__(self, folder, device):
        self.folder, self.device = folder, device

    def emit(self, event, **values):
        pass

    def progress(self, done, of, unit, **shown):
        pass

    def phase(self, name):
        return nullcontext()


def model_of(name, device):
    shape = finetune.model_of(name)
    with torch.device("cpu"):
        torch.manual_seed(0)
        net = empty_model(config_of(shape, name), torch.bfloat16, "sdpa")
        for _ in fill(net, "bf16", torch.bfloat16, device):
            pass
    return net.train()


def main():
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sequence", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--at-least", type=float, default=0.99)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # On a CPU that others use too, seconds of this process are what can be compared; on a GPU the wall clock.
    clock = time.process_time if device == "cpu" else time.perf_counter
    torch.set_num_threads(options.threads)
    torch.set_default_device(device)
    values = {"model": options.model, "method": "lora", "sequence": options.sequence, "batch": 4, "micro_batch": 2}
    settings = make(finetune.Settings, {**values, "steps": options.steps, "checkpointing": False})
    recipe = finetune._recipe(settings)
    row = {"input_ids": [5] * options.sequence, "labels": [5] * options.sequence}
    taken = {"plain TRL": [], "onecard": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.rounds + 1):
            for name in sorted(taken, reverse=bool(number % 2)):
                net = model_of(options.model, device)
                session = Silent(Path(place), device) if name == "onecard" else None
                trainer = trainer_of(recipe, net, _tokenizer(), [row] * 64, [], Path(place), session)
                trainer.args.save_strategy = "no"
                stamps = []
                kept = trainer.training_step

                def timed(*args, kept=kept, stamps=stamps, **kwargs):
                    stamps.append(clock())
                    return kept(*args, **kwargs)

                trainer.training_step = timed
                trainer.train()
                if device == "cuda":
                    torch.cuda.synchronize()
                # first step: allocation and tuning; a step has two parts, so every second stamp begins one
                begun = stamps[:: settings.batch // settings.micro_batch]
                if number:
                    taken[name].append((begun[-1] - begun[1]) / (len(begun) - 2))
    for name, seconds in taken.items():
        print(f"{name:10} {statistics.median(seconds):.3f} s a step (median of {len(seconds)} runs)")
    ratio = statistics.median(taken["plain TRL"]) / statistics.median(taken["onecard"])
    print(
        f"ratio of rates onecard / plain TRL {ratio:.3f} (at least {options.at_least}), {device}, {options.threads} threads"
    )
    sys.exit(ratio < options.at_least)


if __name__ == "__main__":
    main()
