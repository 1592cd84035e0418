"""The configuration with which transformers builds a network of a Model's shapes."""

from pathlib import Path
from typing import Any

from onecard.core.errors import BadSetting
from onecard.core.model import SLIDING, Model

TYPES = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe",
    "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "phi3": "phi3", "gpt2": "gpt2", "falcon": "falcon",
    "olmo2": "olmo2", "gpt-oss": "gpt_oss",
}  # fmt: skip
"""architecture as GGUF names it -> model_type of transformers"""


def config_of(model: Model, name: str) -> Any:
    """From a config.json where the setting names one (a file or its folder), else from the shapes. Raises BadSetting."""
    from transformers import AutoConfig

    path = Path(name).expanduser()
    if path.exists() and path.suffix != ".gguf":
        return AutoConfig.from_pretrained(path if path.is_dir() else path.parent)
    kind = "mixtral" if model.family == "llama" and model.experts else TYPES.get(model.family)
    if kind is None:
        raise BadSetting(
            f'transformers cannot be given a "{model.family}" by shapes alone',
            why=f"known are {', '.join(sorted(TYPES))}",
            next="give --model a folder with a config.json, or --engine llama.cpp",
        )
    if kind == "gpt2":
        return AutoConfig.for_model(
            "gpt2", n_layer=model.layers, n_embd=model.hidden, n_head=model.heads, n_inner=model.ffn,
            n_positions=model.positions or model.context or 1024, vocab_size=model.vocab,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    if kind == "falcon":
        return AutoConfig.for_model(
            "falcon", num_hidden_layers=model.layers, hidden_size=model.hidden, num_attention_heads=model.heads,
            num_kv_heads=model.kv_heads, vocab_size=model.vocab, ffn_hidden_size=model.ffn, alibi=False,
            multi_query=model.kv_heads == 1, new_decoder_architecture=model.norms_per_layer == 2,
            parallel_attn=model.parallel, bias=model.out_bias,
        )  # fmt: skip
    return AutoConfig.for_model(kind, **{**_common(model), **_windows(model), **_experts(model, kind)})


def _common(model: Model) -> dict[str, Any]:
    return {
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.ffn,
        "vocab_size": model.vocab,
        "tie_word_embeddings": model.tied,
        "max_position_embeddings": model.context or 131_072,
        "attention_bias": model.out_bias,
        # token numbers that every vocabulary has: the defaults of some classes lie beyond a small one
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _windows(model: Model) -> dict[str, Any]:
    if model.window is None or not model.count_kind(SLIDING):
        return {}
    kinds = ["sliding_attention" if model.kind_of(n) == SLIDING else "full_attention" for n in range(model.layers)]
    return {"sliding_window": model.window, "layer_types": kinds}


def _experts(model: Model, kind: str) -> dict[str, Any]:
    experts = model.experts
    if experts is None:
        return {}
    count = "num_local_experts" if kind in ("mixtral", "gpt_oss") else "num_experts"
    values: dict[str, Any] = {count: experts.count, "num_experts_per_tok": experts.used}
    if kind in ("qwen2_moe", "qwen3_moe"):
        values["moe_intermediate_size"] = experts.ffn
        values["decoder_sparse_step"] = experts.every
    else:
        values["intermediate_size"] = experts.ffn
    if experts.shared_ffn and kind == "qwen2_moe":
        values["shared_expert_intermediate_size"] = experts.shared_ffn
    return values
