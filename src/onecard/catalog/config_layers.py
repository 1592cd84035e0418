"""The parts of a config.json that make layers differ: windows, linear attention, experts, latent attention."""

from onecard.catalog.config_fields import Fields
from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Experts, Latent, Recurrent

_LAYER_TYPES = {
    "full_attention": FULL,
    "attention": FULL,
    "sliding_attention": SLIDING,
    "chunked_attention": SLIDING,
    "global": FULL,
    "local": SLIDING,
    "linear_attention": LINEAR,
    "mamba": MAMBA,
}
_ALL_SLIDING = ("mistral", "ministral", "mixtral", "phi3", "phimoe", "starcoder2")
"""Types whose every layer looks through `sliding_window` where it is a number (null switches it off)."""
_EXPERT_WIDTH_IS_FFN = ("mixtral", "phimoe", "gpt_oss", "granitemoe", "olmoe", "llama4_text")


def layer_kinds(kind: str, f: Fields, layers: int) -> tuple[str, ...]:
    """One entry a layer, or empty where all attend to everything.

    Rules where the file has no `layer_types`: Gemma 2 slides in even layers; Gemma 3 and Cohere 2 attend fully in every
    sixth and fourth; Qwen3-Next in every fourth and has a gated delta net else; gpt-oss slides in even layers; Qwen 2
    slides from `max_window_layers` on where `use_sliding_window`.
    """
    listed = f.get("layer_types", "attention_layers")
    window = f.integer("sliding_window", "window_size", "attention_chunk_size") if kind != "qwen" else None
    if isinstance(listed, list) and len(listed) == layers:
        kinds = tuple(_LAYER_TYPES.get(str(entry), FULL) for entry in listed)
        if window is None:
            kinds = tuple(FULL if k == SLIDING else k for k in kinds)
    elif kind == "qwen3_next":
        every = f.integer("full_attention_interval") or 4
        kinds = tuple(FULL if (i + 1) % every == 0 else LINEAR for i in range(layers))
    elif window is None:
        kinds = ()
    elif kind == "llama4_text":
        # Chunks of 8,192 tokens, and every fourth layer without positions over everything (modeling_llama4.py)
        kinds = tuple(FULL if (i + 1) % 4 == 0 else SLIDING for i in range(layers))
    elif kind in ("gemma2", "gpt_oss"):
        kinds = tuple(SLIDING if i % 2 == 0 else FULL for i in range(layers))
    elif kind in ("gemma3_text", "cohere2", "olmo3", "exaone4"):
        period = f.integer("sliding_window_pattern", "_sliding_window_pattern") or (6 if kind == "gemma3_text" else 4)
        kinds = tuple(FULL if (i + 1) % period == 0 else SLIDING for i in range(layers))
    elif kind in _ALL_SLIDING:
        kinds = (SLIDING,) * layers
    elif f.get("use_sliding_window") is True:
        first = f.integer("max_window_layers") or 0
        kinds = tuple(SLIDING if i >= first else FULL for i in range(layers))
    else:
        kinds = ()
    return kinds if any(k != FULL for k in kinds) else ()


def experts(kind: str, f: Fields) -> Experts | None:
    """The mixture of experts, where there is one."""
    count = f.integer("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    if not count or count < 2:
        return None
    if kind in _EXPERT_WIDTH_IS_FFN:
        width = f.need("intermediate_size")
    else:
        width = f.need("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
    shared = f.integer("n_shared_experts", "num_shared_experts", "moe_num_shared_experts") or 0
    shared_ffn = f.integer("shared_expert_intermediate_size") or 0
    if shared_ffn:  # Qwen: one shared expert behind a gate of its own
        shared = 1
    if kind == "llama4_text":  # one shared expert of the same width in every mixture
        shared, shared_ffn = 1, width
    return Experts(
        count=count,
        used=f.need("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"),
        ffn=width,
        shared=shared,
        shared_ffn=shared_ffn or shared * width,
        dense_layers=f.integer("first_k_dense_replace", "moe_layer_start_index") or 0,
        every=f.integer("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", "interleave_moe_layer_step")
        or 1,
    )


def latent(f: Fields) -> Latent | None:
    """Multi-head latent attention of DeepSeek, where the file has its ranks."""
    rank = f.integer("kv_lora_rank")
    if not rank:
        return None
    found = Latent(
        q_rank=f.integer("q_lora_rank"),
        kv_rank=rank,
        rope_dim=f.need("qk_rope_head_dim"),
        nope_dim=f.need("qk_nope_head_dim"),
        v_dim=f.need("v_head_dim"),
    )
    f.check("deepseek")
    return found


def recurrent(f: Fields) -> Recurrent:
    """The gated delta net of Qwen3-Next (modeling_qwen3_next.py, Qwen3NextGatedDeltaNet)."""
    found = Recurrent(
        key_heads=f.need("linear_num_key_heads"),
        value_heads=f.need("linear_num_value_heads"),
        key_dim=f.need("linear_key_head_dim"),
        value_dim=f.need("linear_value_head_dim"),
        convolution=f.integer("linear_conv_kernel_dim") or 4,
    )
    f.check("qwen3_next")
    return found
