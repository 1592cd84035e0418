"""Reading config.json: every family from a small literal config, held against what transformers builds from it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.catalog.config_json import known_model_types, model_from_config, parse_config, read_config
from onecard.catalog.families import FAMILIES
from onecard.core.errors import BadFile, OnecardError
from onecard.core.model import FULL, LINEAR, SLIDING

from .count import count, count_vision

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 256, "tie_word_embeddings": False,
    "torch_dtype": "float16",
}  # fmt: skip
PADS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MLA = {"kv_lora_rank": 32, "q_lora_rank": None, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 8,
       "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "moe_layer_freq": 1,
       "num_key_value_heads": 4, "n_group": 1, "topk_group": 1}  # fmt: skip
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "vocab_size": 512}
BERT = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 512,
        "max_position_embeddings": 128, "type_vocab_size": 2}  # fmt: skip
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 32, "image_size": 56, "intermediate_size": 80, "num_attention_heads": 2,
          "num_hidden_layers": 2, "patch_size": 14, "vision_use_head": False}  # fmt: skip
PIXTRAL = {"model_type": "pixtral", "hidden_size": 32, "image_size": 56, "intermediate_size": 80, "num_attention_heads": 2,
           "num_hidden_layers": 2, "patch_size": 14, "head_dim": 16}  # fmt: skip
QWEN_TOWER = {"model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 32, "intermediate_size": 80, "num_heads": 2, "out_hidden_size": 64,
              "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "fullatt_block_indexes": [1]}  # fmt: skip


def llama_like(kind: str, **more: object) -> dict:
    return {**LLAMA, "model_type": kind, **more}


CONFIGS = [
    LLAMA,
    llama_like("llama", attention_bias=True, mlp_bias=True, head_dim=32),
    llama_like("mistral", sliding_window=64, head_dim=32),
    llama_like("mixtral", num_local_experts=4, num_experts_per_tok=2),
    llama_like("smollm3", tie_word_embeddings=True, **PADS),
    llama_like("arcee"),
    llama_like("seed_oss", attention_bias=True, attention_out_bias=False, head_dim=16),
    llama_like("qwen2", tie_word_embeddings=True),
    llama_like("qwen2_moe", shared_expert_intermediate_size=96, **MOE),
    llama_like("qwen3", head_dim=32),
    llama_like("qwen3_moe", head_dim=32, **MOE),
    llama_like("qwen3_next", head_dim=32, shared_expert_intermediate_size=32, linear_conv_kernel_dim=4, linear_key_head_dim=8,
               linear_num_key_heads=2, linear_num_value_heads=4, linear_value_head_dim=8, **MOE),
    llama_like("gemma", head_dim=32, tie_word_embeddings=True),
    llama_like("gemma2", head_dim=32, sliding_window=64, tie_word_embeddings=True),
    llama_like("gemma3_text", head_dim=32, sliding_window=64, num_hidden_layers=7, tie_word_embeddings=True),
    llama_like("phi", num_key_value_heads=4),
    llama_like("phi3", **PADS),
    llama_like("phimoe", num_local_experts=4, num_experts_per_tok=2, lm_head_bias=True, attention_bias=True),
    llama_like("deepseek_v2", **MLA),
    llama_like("deepseek_v3", **{**MLA, "q_lora_rank": 48}),
    llama_like("gpt_oss", num_local_experts=4, num_experts_per_tok=2, sliding_window=64, head_dim=16, attention_bias=True),
    llama_like("llama4_text", num_local_experts=4, num_experts_per_tok=1, intermediate_size_mlp=96, interleave_moe_layer_step=2,
               head_dim=16, attention_chunk_size=64, **PADS),
    llama_like("olmo", **PADS),
    llama_like("olmo2", **PADS),
    llama_like("olmoe", num_experts=8, num_experts_per_tok=2, **PADS),
    llama_like("stablelm", use_qkv_bias=True),
    llama_like("starcoder2", use_bias=True, tie_word_embeddings=True),
    llama_like("granite", tie_word_embeddings=True, **PADS),
    llama_like("granitemoe", num_local_experts=4, num_experts_per_tok=2, tie_word_embeddings=True, **PADS),
    llama_like("cohere", tie_word_embeddings=True, **PADS),
    llama_like("cohere2", tie_word_embeddings=True, sliding_window=64, **PADS),
    llama_like("glm", head_dim=16, attention_bias=True, **PADS),
    llama_like("glm4", head_dim=16, attention_bias=True, **PADS),
    llama_like("exaone4", sliding_window=64, **PADS),
    {"model_type": "gpt2", **GPT},
    {"model_type": "gptj", **GPT, "rotary_dim": 8, "tie_word_embeddings": False},
    {"model_type": "gpt_bigcode", **GPT, "multi_query": True},
    {"model_type": "gpt_neo", "hidden_size": 64, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
     "attention_layers": ["global", "local"], "window_size": 32, "vocab_size": 512, "max_position_embeddings": 128},
    llama_like("gpt_neox", use_parallel_residual=True),
    {"model_type": "opt", "hidden_size": 64, "word_embed_proj_dim": 64, "ffn_dim": 160, "num_hidden_layers": 3,
     "num_attention_heads": 4, "vocab_size": 512, "max_position_embeddings": 128},
    {"model_type": "bloom", "hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 512},
    {"model_type": "mpt", "d_model": 64, "n_layers": 3, "n_heads": 4, "vocab_size": 512, "max_seq_len": 128, "no_bias": True},
    {"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 512, "bias": False},
    {"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_kv_heads": 2, "bias": False,
     "vocab_size": 512, "new_decoder_architecture": True},
    {"model_type": "gemma3", "text_config": llama_like("gemma3_text", head_dim=32, num_hidden_layers=7), "vision_config": SIGLIP,
     "mm_tokens_per_image": 4},
    {"model_type": "mistral3", "text_config": llama_like("mistral", head_dim=16), "vision_config": PIXTRAL, "spatial_merge_size": 2,
     "tie_word_embeddings": False},
    {"model_type": "qwen2_5_vl", "text_config": llama_like("qwen2_5_vl_text"), "vision_config": QWEN_TOWER, "tie_word_embeddings": False},
]  # fmt: skip


def name_of(config: dict) -> str:
    return config["model_type"] + ("-new" if config.get("new_decoder_architecture") else "")


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_shapes_are_those_that_transformers_builds(config: dict):
    """Parameters on the meta device, tied weights once."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    fields = {k: v for k, v in config.items() if k not in ("model_type", "torch_dtype")}
    built = transformers.CONFIG_MAPPING[config["model_type"]](**fields)
    kind = transformers.AutoModelForImageTextToText if "vision_config" in config else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        network = kind.from_config(built)
    network.tie_weights()
    theirs = sum({id(p): p.numel() for p in network.parameters()}.values())
    ours = model_from_config(config, name="x")
    assert ours.note is None
    assert count(ours) + count_vision(ours) == theirs


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_the_config_that_transformers_saves_reads_the_same(config: dict, tmp_path: Path):
    """save_pretrained renames and leaves out fields from release to release; the shapes must survive it."""
    transformers = pytest.importorskip("transformers")
    fields = {k: v for k, v in config.items() if k != "model_type"}
    transformers.CONFIG_MAPPING[config["model_type"]](**fields).save_pretrained(tmp_path)
    ours, saved = model_from_config(config, name="x"), read_config(tmp_path)
    assert count(saved) == count(ours)
    assert (saved.family, saved.layer_kinds, saved.head_dim) == (ours.family, ours.layer_kinds, ours.head_dim)


def test_models_with_code_of_their_own():
    qwen = {"model_type": "qwen", "hidden_size": 64, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4,
            "kv_channels": 16, "vocab_size": 512, "seq_length": 128}  # fmt: skip
    found = model_from_config(qwen, name="x")
    assert (found.ffn, found.qkv_bias, found.fused_qkv, found.context) == (160, True, True, 128)
    glm = {"model_type": "chatglm", "hidden_size": 64, "ffn_hidden_size": 160, "num_layers": 2, "num_attention_heads": 4,
           "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 16, "padded_vocab_size": 512,
           "add_qkv_bias": True, "seq_length": 128}  # fmt: skip
    found = model_from_config(glm, name="x")
    assert (found.kv_heads, found.qkv_bias, found.vocab) == (2, True, 512)


def test_windows():
    gemma = model_from_config(llama_like("gemma3_text", num_hidden_layers=7, sliding_window=64), name="x")
    assert gemma.layer_kinds == (SLIDING,) * 5 + (FULL, SLIDING)
    assert model_from_config(llama_like("gemma2", sliding_window=64), name="x").layer_kinds == (SLIDING, FULL) * 2
    off = llama_like("qwen2", sliding_window=64, use_sliding_window=False)
    assert model_from_config(off, name="x").layer_kinds == ()
    on = llama_like("qwen2", sliding_window=64, use_sliding_window=True, max_window_layers=3)
    assert model_from_config(on, name="x").layer_kinds == (FULL, FULL, FULL, SLIDING)
    listed = llama_like("qwen3", sliding_window=64, layer_types=["sliding_attention"] * 3 + ["full_attention"])
    assert model_from_config(listed, name="x").layer_kinds == (SLIDING, SLIDING, SLIDING, FULL)
    assert model_from_config(llama_like("mistral", sliding_window=None), name="x").window is None
    assert model_from_config(llama_like("mistral"), name="x").window == 4096  # absent: the default of MistralConfig
    next80 = next(c for c in CONFIGS if c["model_type"] == "qwen3_next")
    assert model_from_config(next80, name="x").layer_kinds == (LINEAR, LINEAR, LINEAR, FULL)


def test_old_qwen_vl_files_keep_the_text_fields_at_the_top():
    flat = {**llama_like("qwen2_5_vl"), "vision_config": QWEN_TOWER}
    found = model_from_config(flat, name="x")
    assert (found.family, found.hidden, found.qkv_bias) == ("qwen2vl", 64, True)
    assert found.vision is not None


def test_published_files_that_leave_out_the_defaults_of_their_class():
    """The text_config of google/gemma-3-4b-pt and llava-hf/llava-1.5-7b-hf, as they are on the hub."""
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    tower = {"model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
             "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}  # fmt: skip
    config = {"model_type": "gemma3", "text_config": text, "vision_config": tower, "mm_tokens_per_image": 256}
    gemma = model_from_config(config, name="x")
    assert count(gemma) + count_vision(gemma) == 4300079472
    text = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064}
    llava = model_from_config({"model_type": "llava", "text_config": text, "vision_config": {}}, name="x")
    assert (llava.hidden, llava.layers, llava.ffn, llava.vocab, llava.context) == (4096, 32, 11008, 32064, 4096)
    assert llava.note is not None
    with pytest.raises(BadFile, match="hidden_size"):
        model_from_config(text, name="x")


def test_mamba_layers_are_refused():
    with pytest.raises(BadFile, match="Mamba"):
        model_from_config(llama_like("new_hybrid", layer_types=["mamba", "attention"] * 2), name="x")


def test_missing_fields_are_all_named():
    with pytest.raises(BadFile) as raised:
        model_from_config({"model_type": "llama", "hidden_size": 64}, name="x")
    for field in ("num_attention_heads", "num_hidden_layers", "vocab_size", "intermediate_size"):
        assert field in raised.value.what
    assert "hidden_size" not in raised.value.what


def test_an_unknown_type_is_read_as_a_llama_and_says_so():
    found = model_from_config(llama_like("shiny_new"), name="x")
    assert found.hidden == 64
    assert found.note is not None
    assert "shiny_new" in found.note


@pytest.mark.parametrize("kind", ["t5", "whisper", "mamba2", "jamba", "mllama"])
def test_what_no_shape_describes_is_refused_by_name(kind: str):
    with pytest.raises(BadFile, match=kind):
        model_from_config(llama_like(kind), name="x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[1]", "not a config"), ("3", "not a config"), ("[" * 100_000, "not JSON"),
        ('{"model_type": "llama", "hidden_size": "big"}', "'big'"), ('{"model_type": "llama", "hidden_size": -1}', "-1"),
        ('{"model_type": "llama", "hidden_size": 0}', "0"), ("{}", "lacks"), ('{"model_type": []}', "lacks"),
    ],
)  # fmt: skip
def test_bad_text(text: str, says: str):
    with pytest.raises(BadFile, match=says):
        parse_config(text, name="x")


def test_a_head_that_does_not_divide_is_refused():
    with pytest.raises(BadFile, match="not a multiple"):
        model_from_config(llama_like("llama", num_attention_heads=5), name="x")


def test_quantised_weights_are_noted():
    found = model_from_config(llama_like("llama", quantization_config={"quant_method": "gptq"}), name="x")
    assert found.note is not None
    assert "gptq" in found.note


def test_files_and_folders(tmp_path: Path):
    folder = tmp_path / "My Model"
    folder.mkdir()
    with pytest.raises(BadFile, match=r"no config\.json"):
        read_config(folder)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert read_config(folder).name == "My Model"
    assert read_config(folder / "config.json") == read_config(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile):
        read_config(folder)


def test_every_known_family_has_a_name_in_gguf():
    assert all(family.gguf for family in FAMILIES.values())
    assert {"llama", "qwen3_next", "gemma3", "gpt_oss"} <= set(known_model_types())


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3))  # fmt: skip


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*LLAMA, *MLA, *MOE, "text_config", "layer_types", "sliding_window", "head_dim"]), JSON),
       st.sampled_from([*FAMILIES, "gemma3", "x"]))  # fmt: skip
def test_any_object_is_a_model_or_a_clear_error(changes: dict, kind: str):
    try:
        found = model_from_config({**LLAMA, **changes, "model_type": kind}, name="x")
    except OnecardError:
        return
    assert found.layers > 0
