"""What each `model_type` of a Hugging Face config.json implies beyond its fields.

A config holds widths and counts; that Phi-3 fuses its projections, that Gemma has four norms a layer or that GPT-NeoX
has biases everywhere stands only in the modelling code. This table states it once a family: the name that GGUF gives
the architecture, the fixed traits, and defaults of fields that published files leave out because they equal the
defaults of the configuration class. Source of all rows: `modeling_*.py` and `configuration_*.py` in
huggingface/transformers (src/transformers/models/<model_type>), release 4.57 to 5; for models that ship their own code
(chatglm, baichuan, internlm2, Qwen 1) the `modeling_*.py` beside their weights.

A layer norm without bias (MPT, Cohere, OLMo's has not even a weight) is written "rms": same shape, same traffic.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Traits = Mapping[str, Any]
_NONE: Traits = MappingProxyType({})


class Family(NamedTuple):
    """A model_type: its GGUF architecture, traits of Model that no field tells, defaults of absent fields."""

    gguf: str
    traits: Traits = _NONE
    defaults: Traits = _NONE


_BIASES: Traits = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
_GPT: Traits = {"norm": "layer", "gated": False, **_BIASES}
_FALCON: Traits = {"norm": "layer", "gated": False, "fused_qkv": True}
_GEMMA: Traits = {"norms_per_layer": 4, "tied": True}
_BERT: Traits = {**_GPT, "kind": "encoder", "tied": True, "embed_norm": True}

FAMILIES: dict[str, Family] = {
    # Llama and what differs from it by numbers only
    "llama": Family("llama"),
    "mistral": Family("llama", defaults={"sliding_window": 4096}),
    "ministral": Family("llama"),
    "mixtral": Family("llama"),
    "aquila": Family("llama"),
    "arcee": Family("arcee", {"gated": False}),
    "smollm3": Family("smollm3", defaults={"tie_word_embeddings": True}),
    "seed_oss": Family("seed_oss", {"qkv_bias": True}),
    "internlm": Family("llama", {"qkv_bias": True, "out_bias": True}),
    "internlm2": Family("internlm2", {"fused_qkv": True}),
    "internlm3": Family("llama"),
    "baichuan": Family("baichuan", {"fused_qkv": True}),
    "exaone4": Family("exaone4", {"qk_norm": "head"}),
    "ernie4_5": Family("ernie4_5"),
    "hunyuan_v1_dense": Family("hunyuan-dense", {"qk_norm": "head"}),
    "nemotron": Family("nemotron", {"norm": "layer", "gated": False}),
    # Qwen
    "qwen": Family("qwen", {"qkv_bias": True, "fused_qkv": True}),
    "qwen2": Family("qwen2", {"qkv_bias": True}),
    "qwen2_moe": Family("qwen2moe", {"qkv_bias": True}),
    "qwen3": Family("qwen3", {"qk_norm": "head"}),
    "qwen3_moe": Family("qwen3moe", {"qk_norm": "head"}),
    "qwen3_next": Family("qwen3next", {"qk_norm": "head", "gated_attention": True}),
    "qwen2_vl_text": Family("qwen2vl", {"qkv_bias": True}),
    "qwen2_5_vl_text": Family("qwen2vl", {"qkv_bias": True}),
    "qwen3_vl_text": Family("qwen3vl", {"qk_norm": "head"}),
    "qwen3_vl_moe_text": Family("qwen3vlmoe", {"qk_norm": "head"}),
    # Gemma: the embedding is always the head
    "gemma": Family("gemma", {"tied": True}, {"head_dim": 256}),
    "gemma2": Family("gemma2", _GEMMA, {"head_dim": 256}),
    "gemma3_text": Family(
        "gemma3",
        {**_GEMMA, "qk_norm": "head"},
        {
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
        },
    ),
    # Phi
    "phi": Family("phi2", {**_GPT, "norms_per_layer": 1, "parallel": True, "head_bias": True}),
    "phi-msft": Family("phi2", {**_GPT, "norms_per_layer": 1, "parallel": True, "head_bias": True}),
    "phi3": Family("phi3", {"fused_qkv": True, "fused_gate_up": True}),
    "phimoe": Family("phimoe", {"norm": "layer", "qkv_bias": True, "out_bias": True, "head_bias": True}),
    # DeepSeek
    "deepseek": Family("deepseek"),
    "deepseek_v2": Family("deepseek2"),
    "deepseek_v3": Family("deepseek2"),
    # mixtures of experts of other makers
    "llama4_text": Family("llama4"),
    "gpt_oss": Family("gpt-oss", {"sinks": True, **_BIASES}),
    "olmoe": Family("olmoe", {"qk_norm": "full"}),
    "glm4_moe": Family("glm4moe", {"qkv_bias": True}),
    "granitemoe": Family("granitemoe", defaults={"tie_word_embeddings": True}),
    "ernie4_5_moe": Family("ernie4_5-moe"),
    # GPT lineage
    "gpt2": Family("gpt2", {**_GPT, "tied": True}),
    "gpt_bigcode": Family("starcoder", {**_GPT, "tied": True}),
    "gptj": Family("gptj", {"norm": "layer", "gated": False, "mlp_bias": True, "head_bias": True,
                            "norms_per_layer": 1, "parallel": True}),
    "gpt_neo": Family("gptneo", {"norm": "layer", "gated": False, "mlp_bias": True, "out_bias": True, "tied": True}),
    "gpt_neox": Family("gptneox", {**_GPT, "parallel": True, "fused_qkv": True}, {"tie_word_embeddings": False}),
    "opt": Family("opt", {**_GPT, "tied": True}),
    "bloom": Family("bloom", {**_GPT, "tied": True, "embed_norm": True, "fused_qkv": True}),
    "codegen": Family("codegen", {"norm": "layer", "gated": False, "mlp_bias": True, "head_bias": True,
                                  "norms_per_layer": 1, "parallel": True, "fused_qkv": True}),
    "mpt": Family("mpt", {"gated": False, "tied": True, "fused_qkv": True}),
    "falcon": Family("falcon", _FALCON, {"tie_word_embeddings": True, "max_position_embeddings": 2048}),
    "RefinedWeb": Family("falcon", _FALCON),
    "RefinedWebModel": Family("falcon", _FALCON),
    # others
    "stablelm": Family("stablelm", {"norm": "layer"}),
    "stablelm_epoch": Family("stablelm", {"norm": "layer"}),
    "starcoder2": Family("starcoder2", {**_GPT}, {"tie_word_embeddings": True}),
    "olmo": Family("olmo", {"norms_per_layer": 0}),
    "olmo2": Family("olmo2", {"qk_norm": "full"}),
    "olmo3": Family("olmo2", {"qk_norm": "full"}),
    "granite": Family("granite"),
    "cohere": Family("command-r", {"norms_per_layer": 1, "parallel": True, "tied": True}),
    "cohere2": Family("cohere2", {"norms_per_layer": 1, "parallel": True, "tied": True}),
    "chatglm": Family("chatglm", {"fused_qkv": True, "fused_gate_up": True}),
    "glm": Family("chatglm", {"fused_gate_up": True}),
    "glm4": Family("glm4", {"fused_gate_up": True, "norms_per_layer": 4}),
    # encoders
    "bert": Family("bert", _BERT),
    "roberta": Family("bert", _BERT),
    "xlm-roberta": Family("bert", _BERT),
    "camembert": Family("bert", _BERT),
    "distilbert": Family("bert", _BERT),
}  # fmt: skip

WRAPPERS: dict[str, str] = {
    "gemma3": "gemma3_text",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "llava": "llama",
    "llava_next": "llama",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "idefics3": "llama",
    "smolvlm": "llama",
    "paligemma": "gemma",
}
"""Types that wrap a language model in `text_config` (older Qwen-VL files keep its fields at the top); the model_type that
the inner part has where it does not say so itself."""

WRAPPED_DEFAULTS: Traits = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
"""Widths that LLaVA's files leave out of `text_config`: the defaults of LlamaConfig and MistralConfig, which are a 7B's."""

REFUSED: dict[str, str] = {
    "t5": "an encoder-decoder",
    "mt5": "an encoder-decoder",
    "umt5": "an encoder-decoder",
    "bart": "an encoder-decoder",
    "mbart": "an encoder-decoder",
    "pegasus": "an encoder-decoder",
    "marian": "an encoder-decoder",
    "whisper": "a speech encoder-decoder",
    "mllama": "a decoder with cross-attention layers to its images",
    "mamba": "a state-space model without attention",
    "mamba2": "a state-space model without attention",
    "rwkv": "a recurrent model without attention",
    "jamba": "a Mamba hybrid",
    "bamba": "a Mamba hybrid",
    "zamba": "a Mamba hybrid",
    "zamba2": "a Mamba hybrid",
    "falcon_h1": "a Mamba hybrid",
    "nemotron_h": "a Mamba hybrid",
    "granitemoehybrid": "a Mamba hybrid",
    "lfm2": "a hybrid of convolutions and attention",
    "gemma3n": "a network with embeddings for every layer and alternating updates",
    "vit": "an image encoder",
    "clip": "an image and text encoder",
    "siglip": "an image and text encoder",
}
"""Types whose shapes Model does not describe: a generic reading would be wrong, so it is refused by name."""
