"""The metadata with which llama.cpp loads a model of given shapes: keys of gguf-py's constants.py, per architecture.

What llama.cpp asks of every architecture is written for all; what it asks only where a model has it (experts, latent
attention, recurrent layers, sliding windows) follows from the Model. Read against llama.cpp's src/llama-model.cpp,
load_hparams, 2026-10; keys that an architecture does not know are ignored by it.
"""

from typing import Any

from onecard.core.model import LINEAR, MAMBA, SLIDING, Model
from onecard.engines.vocabulary import vocabulary

_EPSILON = 1e-6


def metadata(model: Model, name: str) -> dict[str, Any]:
    """Every key and value, the tokenizer's included."""
    arch = model.family
    values: dict[str, Any] = {
        "context_length": model.context or 131_072,
        "embedding_length": model.hidden,
        "block_count": model.layers,
        "feed_forward_length": model.ffn,
        "vocab_size": model.vocab,
        "attention.head_count": model.heads,
        "attention.head_count_kv": model.kv_heads,
        "attention.key_length": model.head_dim,
        "attention.value_length": model.head_dim,
        "rope.dimension_count": model.head_dim,
        "rope.freq_base": 10_000.0,
        "attention.layer_norm_rms_epsilon": _EPSILON,
        "attention.layer_norm_epsilon": _EPSILON,
    }
    values |= _windows(model) | _experts(model) | _latent(model) | _recurrent(model)
    if arch == "gemma2":
        # llama.cpp turns these on for the whole architecture; Gemma 2 report, arXiv 2408.00118, section 2
        values |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    if arch == "gptneox":
        values["use_parallel_residual"] = model.parallel
    general = {"general.architecture": arch, "general.name": name, "general.file_type": 0}
    return general | {f"{arch}.{key}": value for key, value in values.items()} | vocabulary(model)


def _windows(model: Model) -> dict[str, Any]:
    if model.family == "phi3":
        return {"attention.sliding_window": model.window or 0}
    if model.window is None or not model.count_kind(SLIDING):
        return {}
    return {"attention.sliding_window": model.window}


def _experts(model: Model) -> dict[str, Any]:
    experts = model.experts
    if experts is None:
        return {}
    return {
        "expert_count": experts.count,
        "expert_used_count": experts.used,
        "expert_feed_forward_length": experts.ffn,
        "expert_shared_count": experts.shared,
        "expert_shared_feed_forward_length": experts.shared_ffn,
        "leading_dense_block_count": experts.dense_layers,
        "interleave_moe_layer_step": experts.every,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "expert_gating_func": 1,
    }


def _latent(model: Model) -> dict[str, Any]:
    """One cached vector of kv_rank + rope_dim a token serves every head, so there is one key/value head."""
    latent = model.latent
    if latent is None:
        return {}
    values: dict[str, Any] = {
        "attention.kv_lora_rank": latent.kv_rank,
        "attention.head_count_kv": 1,
        "attention.key_length": latent.kv_rank + latent.rope_dim,
        "attention.value_length": latent.kv_rank,
        "attention.key_length_mla": latent.nope_dim + latent.rope_dim,
        "attention.value_length_mla": latent.v_dim,
        "rope.dimension_count": latent.rope_dim,
    }
    return values | ({"attention.q_lora_rank": latent.q_rank} if latent.q_rank else {})


def _recurrent(model: Model) -> dict[str, Any]:
    state = model.recurrent
    if state is None:
        return {}
    values: dict[str, Any] = {
        "ssm.conv_kernel": state.convolution,
        "ssm.state_size": state.key_dim,
        "ssm.group_count": state.key_heads,
        "ssm.time_step_rank": state.value_heads,
        "ssm.inner_size": state.value_heads * state.value_dim,
    }
    recurrent = [model.kind_of(layer) in (LINEAR, MAMBA) for layer in range(model.layers)]
    if False in recurrent:
        values["full_attention_interval"] = recurrent.index(False) + 1
    return values
