"""llama.cpp on this machine's CPU beside what onecard predicts for it: where the CPU constants of predict/kernels.py come from.

    python benchmarks/fit_cpu.py [--model tinyllama-1.1b] [--quant q4_k_m ...] [--repeats 5]

Synthetic weights of the exact formats are written once. Memory bandwidth is measured right before each run, because a shared
machine gives neither the same bandwidth nor the same cores twice; the best of the repeats is the one to compare (two threads that
wait for each other collapse as soon as a third program runs), the median tells how busy the machine was.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from onecard import catalog
from onecard.core.places import cache
from onecard.engines.llama_cpp import Options, load
from onecard.engines.synthetic_gguf import synthetic_gguf
from onecard.machine import bandwidth
from onecard.machine.devices import cpu_device
from onecard.parts.mixes import gguf_types
from onecard.predict.price import price
from onecard.workloads import chat

PROMPT, ANSWER = 256, 16
HEADER = (
    f"{'format':8} {'GB/s now':>9} {'prefill best':>13} {'median':>8} {'predicted':>24} "
    f"{'decode best':>12} {'median':>8} {'predicted':>24}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tinyllama-1.1b")
    parser.add_argument("--quant", nargs="+", default=["q4_k_m", "q8_0", "q4_0", "q6_k", "f16"])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    device = cpu_device()
    threads = device.multiprocessors or 1
    print(f"{device.name}: {threads} cores, {device.bandwidth / 1e9:.1f} GB/s, {device.sources.get('bandwidth', '')}")
    print(HEADER)
    for quant in given.quant:
        model = catalog.find_model(given.model)
        path = synthetic_gguf(model, gguf_types(model, quant), quant, cache())
        settings = chat.Settings(model=given.model, quant=quant, prompt_tokens=PROMPT, output_tokens=ANSWER)
        rates = price(chat.cost(settings), device).rates
        reads, writes, now = [], [], []
        with tempfile.NamedTemporaryFile(suffix=".log") as log:
            llama = load(path, Options(context=1024, threads=threads, gpu_layers=0), Path(log.name))
            prompt = [(7 * i) % (model.vocab - 300) + 300 for i in range(PROMPT)]
            for _ in range(given.repeats):
                now.append(bandwidth.measure(threads, seconds=0.2).rate / 1e9)
                timing = llama.generate(prompt, ANSWER)
                reads.append(timing.prompt_per_s)
                writes.append(timing.output_per_s or 0.0)
            del llama
        print(
            f"{quant:8} {max(now):9.1f} {max(reads):13.1f} {statistics.median(reads):8.1f} {_range(rates['prefill_tokens_per_s']):>24} "
            f"{max(writes):12.2f} {statistics.median(writes):8.2f} {_range(rates['decode_tokens_per_s']):>24}",
            flush=True,
        )


def _range(r) -> str:
    return f"{r.likely:.1f} ({r.low:.1f} to {r.high:.1f})"


if __name__ == "__main__":
    main()
