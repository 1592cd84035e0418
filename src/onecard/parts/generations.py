"""Generations of inference engines: what a version number changes about the work itself, not about its rate.

llama.cpp more than doubled some of its rates between 2023 and 2025, and transformers rewrote its attention; a
prediction without the version is a prediction of nothing. A generation's name ("llama.cpp-2024") is the `kernel` of the
Operations, and `predict/` keeps its constants under the same name.
"""

import re

import msgspec


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine, from one version on, does a decoder."""

    name: str
    engine: str
    since: tuple[int, ...]
    """first version"""
    flash: bool
    """fused attention unless it is switched off"""
    expands_kv: bool = False
    """copies K and V once per query head of their group before attention (repeat_kv)"""
    grows_kv: bool = False
    """concatenates the cache at every token instead of writing into a slot"""
    dequantizes: bool = False
    """prompt processing turns quantised weights into fp16 first and multiplies these"""
    all_logits: bool = False
    """the head runs over every prompt token, not only over the last"""
    expert_loop: str = ""
    """visits experts of a layer one by one from the host: all of them, or those that are hit; empty: one fused kernel"""
    fused: bool = False
    """norms, rotary embedding, activation and residual are one kernel each"""
    graphs: bool = False
    """replays a recorded graph at decode: the host starts one thing a token"""
    graph_depth: int | None = None
    """beyond this depth the engine leaves its recorded graphs and starts kernels one by one"""
    note: str = ""


GENERATIONS = (
    Generation(
        name="llama.cpp-2023", engine="llama.cpp", since=(0,), flash=False, dequantizes=True, fused=True,
        note="builds of 2023: no CUDA graphs, no flash attention",
    ),
    Generation(
        name="llama.cpp-2024", engine="llama.cpp", since=(2700,), flash=False, dequantizes=True, fused=True, graphs=True,
        note="spring 2024: CUDA graphs (ggml-org/llama.cpp#6766); quantised prompts still dequantise to fp16 for cuBLAS",
    ),
    Generation(
        name="llama.cpp-mmq", engine="llama.cpp", since=(3145,), flash=False, fused=True, graphs=True,
        note="June 2024: int8 tensor-core kernels for quantised prompts by default (ggml-org/llama.cpp#7860)",
    ),
    Generation(
        name="llama.cpp", engine="llama.cpp", since=(6325,), flash=True, fused=True, graphs=True,
        note="autumn 2025: flash attention by default where the backend has it (ggml-org/llama.cpp#15434)",
    ),
    Generation(
        name="transformers-4.30", engine="transformers", since=(0,), flash=False, expands_kv=True, grows_kv=True,
        all_logits=True, expert_loop="all", note="2023, with the first kernels of AutoGPTQ and bitsandbytes",
    ),
    Generation(
        name="transformers-4.37", engine="transformers", since=(4, 31), flash=False, expands_kv=True, grows_kv=True,
        all_logits=True, expert_loop="all", note="caches as tuples",
    ),
    Generation(
        name="transformers-4.38", engine="transformers", since=(4, 38), flash=False, expands_kv=True, grows_kv=True,
        all_logits=True, expert_loop="all", note="fp32 logits over the whole prompt",
    ),
    Generation(
        name="transformers-4.46", engine="transformers", since=(4, 45), flash=True, expands_kv=True, grows_kv=True,
        expert_loop="all", note="head on the last token; K and V still repeated before SDPA and FlashAttention-2",
    ),
    Generation(
        name="transformers-4.48", engine="transformers", since=(4, 48), flash=True, grows_kv=True, expert_loop="all",
        note="attention interface; grouped queries without copies under FlashAttention-2 and SDPA",
    ),
    Generation(
        name="transformers", engine="transformers", since=(4, 53), flash=True, grows_kv=True, expert_loop="hit",
        note="the expert loop leaves out experts that no token chose",
    ),
    Generation(
        name="vllm-0.4", engine="vllm", since=(0,), flash=True, fused=True, graphs=True, graph_depth=8192,
        note="max_seq_len_to_capture = 8192: longer sequences run eagerly",
    ),
    Generation(name="vllm", engine="vllm", since=(0, 6), flash=True, fused=True, graphs=True),
    Generation(name="sglang", engine="sglang", since=(0,), flash=True, fused=True, graphs=True),
    Generation(
        name="exllama-0", engine="exllama", since=(0,), flash=False, fused=True,
        note="May 2023: one kernel for prompts and tokens",
    ),
    Generation(
        name="exllama", engine="exllama", since=(1,), flash=False, fused=True, dequantizes=True,
        note="prompts are rebuilt as fp16 for cuBLAS",
    ),
    Generation(name="exllamav2", engine="exllamav2", since=(0,), flash=True, fused=True),
    Generation(name="autoawq-gemv", engine="autoawq", since=(0,), flash=False, fused=True, all_logits=True),
    Generation(name="autoawq", engine="autoawq", since=(1,), flash=False, fused=True, all_logits=True),
    Generation(name="gpt-fast", engine="gpt-fast", since=(0,), flash=True, fused=True, graphs=True),
    Generation(name="mlc", engine="mlc", since=(0,), flash=False, fused=True),
    Generation(name="litgpt", engine="litgpt", since=(0,), flash=True, expands_kv=True, all_logits=True),
    Generation(name="gptq-for-llama", engine="gptq-for-llama", since=(0,), flash=False, grows_kv=True, all_logits=True),
)  # fmt: skip


def version_of(text: str | None) -> tuple[int, ...]:
    """(4, 46, 3) from "4.46.3", (2824,) from "b2824" or "2824"; () where nothing is known."""
    found = re.search(r"\d+(?:\.\d+)*", text or "")
    return tuple(int(n) for n in found[0].split(".")) if found else ()


def generation(engine: str, version: str | None = None) -> Generation:
    """The generation that a version belongs to; the newest of the engine where no version is given."""
    known = [g for g in GENERATIONS if g.engine == engine]
    if not known:
        known = [g for g in GENERATIONS if g.engine == "transformers"]
    number = version_of(version)
    if not number:
        return known[-1]
    return [g for g in known if g.since <= number][-1] if known[0].since <= number else known[0]
