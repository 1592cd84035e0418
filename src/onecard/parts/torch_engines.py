"""Peak memory of engines that allocate their cache beforehand: AutoAWQ, ExLlama, litgpt, gpt-fast, GPTQ-for-LLaMa, MLC.

All hold the weights and a cache for every token that was asked for; what else lives at the peak follows from each one's code.
"""

from math import prod

from onecard.core.model import Model
from onecard.parts.kv_cache import torch_kv_bytes
from onecard.parts.torch_inference import CUBLAS, Peak, block_bytes
from onecard.parts.torch_weights import ELEMENT, head_bytes, is_linear, largest_matrix, matrix_bytes, weight_bytes
from onecard.parts.transformer import tensors


def other_phases(
    model: Model, engine: str, format: str, *, prompt: int, context: int, batch: int, version: str | None
) -> tuple[Peak, Peak]:
    """Peaks of reading and of writing."""
    weights = _weights(model, engine, format)
    cache = torch_kv_bytes(model, context, batch)
    workspace = float(CUBLAS) + _dequantised(model, engine, format)
    if engine in ("exllama", "exllamav2"):
        # The head runs on the last token; scores of a pass of 2,048 tokens at most.
        logits, block = 6.0 * model.vocab, block_bytes(model, min(prompt, 2048), "sdpa", False)
    else:
        logits = (6.0 * model.vocab + 2.0 * model.hidden) * prompt * batch
        # AutoAWQ's fused attention takes grouped queries through full scores.
        scores = engine == "gptq-for-llama" or (engine == "autoawq" and model.kv_heads < model.heads)
        attention = "eager" if scores else "flash"
        block = block_bytes(model, prompt, attention, False, softmax=6.0) * batch  # fp16: no fp32 copy of the scores
    one = block_bytes(model, 1, "flash", False) * batch + 16.0 * model.vocab * batch
    reading = Peak(weights, cache, max(logits, block), workspace)
    writing = Peak(weights, cache, one, workspace)
    if engine == "autoawq":
        # Fusing queries, keys and values makes them anew beside the ones that were read (awq/modules/fused), before any cache.
        fusing = _projections(model, format)
        if fusing > max(reading.total, writing.total) - weights:
            writing = Peak(weights, 0.0, 0.0, workspace, fusing)
    return reading, writing


def _weights(model: Model, engine: str, format: str) -> float:
    weights = float(weight_bytes(model, format))
    if engine == "litgpt":
        # litgpt never ties the head to the embedding, and its quantised linear layers include the head.
        head = head_bytes(model)
        if model.tied:
            weights += head
        if format not in ELEMENT and not format.startswith("gptq"):
            weights += matrix_bytes(format, model.hidden, model.vocab) - head
    return weights


def _dequantised(model: Model, engine: str, format: str) -> float:
    if format in ELEMENT:
        return 0.0
    largest = largest_matrix(model) * 2.0
    if engine == "litgpt":
        # The head is the largest; it is dequantised to fp16 and converted to bf16 (bitsandbytes matmul_4bit: two copies).
        return 2.0 * max(largest, head_bytes(model))
    return largest if engine in ("autoawq", "gpt-fast") else 0.0


def _projections(model: Model, format: str) -> float:
    if model.fused_qkv:
        return 0.0
    names = ("attn_q.weight", "attn_k.weight", "attn_v.weight")
    return float(
        sum(
            matrix_bytes(format, t.shape[0], t.shape[1]) * prod(t.shape[2:])
            for t in tensors(model)
            if is_linear(t) and t.name.endswith(names)
        )
    )
