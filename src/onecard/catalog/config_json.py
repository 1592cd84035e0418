"""A Hugging Face config.json -> Model: any text decoder that transformers knows, and the language half of vision models.

The same fact has a dozen spellings (hidden_size, n_embd, d_model ...), and some facts stand only in the modelling code
(families.py). An unknown model_type with the fields of a Llama is read as one and the Model says so in `note`; missing
fields are an error that names all of them at once; a kind of network that Model cannot describe is refused by name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onecard.catalog.config_fields import Fields
from onecard.catalog.config_layers import experts, latent, layer_kinds, recurrent
from onecard.catalog.config_vision import vision
from onecard.catalog.families import FAMILIES, REFUSED, WRAPPED_DEFAULTS, WRAPPERS, Family
from onecard.catalog.safetensors_header import count_parameters, read_safetensors
from onecard.core.errors import BadFile
from onecard.core.model import LINEAR, MAMBA, SLIDING, Model

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def known_model_types() -> tuple[str, ...]:
    """Every model_type that is read with its own traits."""
    return tuple(sorted({*FAMILIES, *WRAPPERS}))


def read_config(path: Path, *, name: str | None = None) -> Model:
    """The Model of a config.json or of the folder that holds one. Raises BadFile."""
    file = path / "config.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadFile(f"{path} has no config.json", next="name a folder with a config.json, or a .gguf file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{file} cannot be read", why=str(error)) from None
    stem = file.resolve().parent.name if file.name == "config.json" else file.stem
    model = parse_config(text, name=name or stem, where=str(file), file=str(file.parent))
    weights = sorted(file.parent.glob("*.safetensors"))
    if not weights:
        return model
    # The weights lie beside it: their number is known, not counted.
    return _with(model, parameters=count_parameters(read_safetensors(file.parent)))


def parse_config(
    text: str, *, name: str, where: str = "config.json", hub_id: str | None = None, file: str | None = None
) -> Model:
    """The Model of the text of a config.json. Raises BadFile where it is not JSON or lacks fields."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{where} is not JSON", why=str(error), next="give the config.json of the model") from None
    if not isinstance(config, dict):
        raise BadFile(f"{where} is JSON but not a config", why="it must be an object with model_type and widths")
    return model_from_config(config, name=name, where=where, hub_id=hub_id, file=file)


def model_from_config(
    config: Mapping[str, Any],
    *,
    name: str,
    where: str = "config.json",
    hub_id: str | None = None,
    file: str | None = None,
) -> Model:
    """The Model of a config already parsed. Raises BadFile naming every field that is missing."""
    outer = config.get("model_type")
    inner: dict[str, Any] = dict(config)
    notes: list[str] = []
    nested = next((config[key] for key in ("text_config", "llm_config") if isinstance(config.get(key), dict)), None)
    if nested is not None:
        inner = {k: v for k, v in config.items() if k in ("tie_word_embeddings", "torch_dtype", "dtype")} | nested
        inner.setdefault("model_type", WRAPPERS.get(str(outer), "llama"))
    elif isinstance(outer, str) and outer in WRAPPERS:
        inner["model_type"] = WRAPPERS[outer]
    kind = inner.get("model_type")
    for refused in (outer, kind):
        if isinstance(refused, str) and refused in REFUSED:
            raise BadFile(
                f'{where}: model_type "{refused}" is {REFUSED[refused]}, which no shape here describes',
                next="take a text decoder, or trace the model's own step",
            )
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if kind == "qwen2" and outer in ("qwen2_vl", "qwen2_5_vl"):
        family = FAMILIES["qwen2_vl_text"]
    if family is None:
        family = Family("llama")
        said = f'model_type "{kind}" is not known' if kind else "there is no model_type"
        notes.append(f"{said}: read as a Llama with these widths")
    defaults = {**WRAPPED_DEFAULTS, **family.defaults} if outer in ("llava", "llava_next") else family.defaults
    fields = Fields(inner, defaults, where)
    model = _decoder(str(kind), family, fields, name)
    tower = vision(str(outer), config, model.hidden, where)
    if tower is None and isinstance(config.get("vision_config"), dict):
        notes.append("its vision tower is not read")
    if isinstance(config.get("quantization_config"), dict):
        method = config["quantization_config"].get("quant_method", "an unknown method")
        notes.append(f"the published weights are quantised with {method}")
    return _with(model, vision=tower, hub_id=hub_id, file=file, source=where, note="; ".join(notes) or None)


def _with(model: Model, **changes: Any) -> Model:
    values = {field: getattr(model, field) for field in model.__struct_fields__}
    return Model(**(values | changes))


def _decoder(kind: str, family: Family, f: Fields, name: str) -> Model:
    hidden = f.need("hidden_size", "n_embd", "d_model", "model_dim", "dim")
    heads = f.need("num_attention_heads", "n_head", "n_heads", "num_heads")
    layers = f.need("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    vocab = f.need("vocab_size", "padded_vocab_size")
    if kind == "chatglm":
        vocab = f.integer("padded_vocab_size") or vocab
    mixture = experts(kind, f)
    ffn = _ffn(kind, f, hidden)
    f.check(kind)
    if f.integer("head_dim", "kv_channels", "attention_head_dim") is None and heads and hidden % heads:
        raise BadFile(f"{f.where}: hidden_size {hidden} is not a multiple of {heads} heads and no head_dim is given")
    mla = latent(f)
    head_dim = mla.nope_dim + mla.rope_dim if mla else f.integer("head_dim", "kv_channels", "attention_head_dim")
    traits = dict(family.traits)
    traits |= _flags(kind, f, traits)
    kinds = layer_kinds(kind, f, layers)
    if MAMBA in kinds:
        raise BadFile(
            f"{f.where} has Mamba layers, whose shapes are not read here",
            next="take a transformer, or a GGUF file of it",
        )
    window = f.integer("sliding_window", "window_size", "attention_chunk_size") if kind != "qwen" else None
    return Model(
        **traits,
        name=name,
        family=family.gguf,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads if mla else _kv_heads(kind, f, heads),
        head_dim=head_dim or hidden // heads,
        ffn=ffn,
        vocab=vocab,
        context=f.integer("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length",
                          "model_max_length"),
        positions=_positions(kind, f),
        window=window if SLIDING in kinds else None,
        layer_kinds=kinds,
        experts=mixture,
        latent=mla,
        recurrent=recurrent(f) if LINEAR in kinds else None,
        dtype=_DTYPES.get(str(f.get("torch_dtype", "dtype")), "bf16"),
    )  # fmt: skip


def _kv_heads(kind: str, f: Fields, heads: int) -> int:
    if kind in ("falcon", "RefinedWeb", "RefinedWebModel"):
        if f.get("new_decoder_architecture") or kind == "RefinedWeb":
            return f.integer("num_kv_heads", "n_head_kv") or heads
        return 1 if f.get("multi_query") in (True, None) else heads
    if kind == "gpt_bigcode":
        return 1 if f.get("multi_query") in (True, None) else heads
    if kind == "chatglm":
        return f.integer("multi_query_group_num") or heads if f.get("multi_query_attention") else heads
    if kind == "mpt":
        attention = f.get("attn_config")
        return int(attention.get("kv_n_heads") or heads) if isinstance(attention, dict) else heads
    if kind in ("gpt2", "gptj", "gpt_neo", "gpt_neox", "opt", "bloom", "codegen", "bert", "roberta", "distilbert"):
        return heads
    return f.integer("num_key_value_heads", "num_kv_heads", "n_kv_heads") or heads


def _ffn(kind: str, f: Fields, hidden: int) -> int:
    """Inner width of a dense feed-forward; where all layers are mixtures it is the width of an expert."""
    if kind == "qwen":  # modeling_qwen.py: w1 and w2 each have intermediate_size // 2 rows
        return f.need("intermediate_size") // 2
    if kind == "mpt":
        return int(hidden * float(f.get("expansion_ratio") or 4))
    if kind in (
        "gpt2",
        "gpt_bigcode",
        "gptj",
        "gpt_neo",
        "codegen",
        "bloom",
        "falcon",
        "RefinedWeb",
        "RefinedWebModel",
    ):
        return f.integer("n_inner", "ffn_hidden_size", "intermediate_size") or 4 * hidden
    if kind == "llama4_text":  # intermediate_size is that of an expert
        return f.need("intermediate_size_mlp", "intermediate_size")
    return f.need("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "hidden_dim", "moe_intermediate_size")


def _positions(kind: str, f: Fields) -> int:
    """Rows of learned position tables; an encoder's token types are counted with them (same width, same use)."""
    if kind in ("gpt2", "gpt_bigcode", "gpt_neo"):
        return f.integer("n_positions", "max_position_embeddings", "n_ctx") or 0
    if kind == "opt":  # OPTLearnedPositionalEmbedding: two rows of offset
        return (f.integer("max_position_embeddings") or 0) + 2
    if kind in ("bert", "roberta", "xlm-roberta", "camembert"):
        return (f.integer("max_position_embeddings") or 0) + (f.integer("type_vocab_size") or 0)
    return (f.integer("max_position_embeddings") or 0) if kind == "distilbert" else 0


def _flags(kind: str, f: Fields, traits: Mapping[str, Any]) -> dict[str, Any]:
    """Traits that fields switch."""
    flags: dict[str, Any] = {}
    tied = f.get("tie_word_embeddings")
    if isinstance(tied, bool) and "tied" not in traits:
        flags["tied"] = tied
    bias = f.get("attention_bias")
    if isinstance(bias, bool) and kind not in ("gpt_oss", "phimoe", "gpt_neox", "seed_oss"):
        # In Llama-like code attention_bias covers the output projection too; GLM-4's and Qwen's covers q, k, v only.
        flags |= {"qkv_bias": bias, "out_bias": bias and kind not in ("glm", "glm4", "glm4_moe", "qwen2_moe")}
    if f.get("mlp_bias") is True:
        flags["mlp_bias"] = True
    if kind in ("stablelm", "stablelm_epoch"):
        flags["qkv_bias"] = f.get("use_qkv_bias") is True
        if f.get("use_parallel_residual") is True:
            flags |= {"parallel": True, "norms_per_layer": 1}
        if f.get("qk_layernorm") is True:
            flags["qk_norm"] = "full"
    elif kind == "starcoder2" and f.get("use_bias") is False:
        flags |= {"qkv_bias": False, "out_bias": False, "mlp_bias": False}
    elif kind == "gpt_neox" and f.get("use_parallel_residual") is False:
        flags["parallel"] = False
    elif kind in ("falcon", "RefinedWeb", "RefinedWebModel"):
        parallel = f.get("parallel_attn") is not False
        new = bool(f.get("new_decoder_architecture")) or kind == "RefinedWeb"
        norms = 2 if not parallel or (new and f.integer("num_ln_in_parallel_attn") != 1) else 1
        biased = f.get("bias") is True
        flags |= {
            "parallel": parallel,
            "norms_per_layer": norms,
            "qkv_bias": biased,
            "out_bias": biased,
            "mlp_bias": biased,
        }
    elif kind == "chatglm":
        flags |= {"qkv_bias": f.get("add_qkv_bias") is True or f.get("add_bias_linear") is True}
    elif kind == "glm4_moe":
        flags["qk_norm"] = "head" if f.get("use_qk_norm") is True else None
    elif kind == "mpt" and f.get("no_bias") is False:
        flags |= {"norm": "layer", "qkv_bias": True, "out_bias": True, "mlp_bias": True}
    elif kind in ("cohere", "cohere2") and f.get("use_qk_norm") is True:
        flags["qk_norm"] = "full"
    return flags
