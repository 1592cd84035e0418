import json

import pytest

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from onecard.core.errors import BadFile, BadSetting
from onecard.engines import corpus, export_gguf
from onecard.engines.gguf_vocabulary import _LLAMA3

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("the quick brown fox jumps over the lazy dog\n" * 50)
    return corpus.learn_tokenizer(str(file), 0, 300)


@pytest.fixture
def model_folder(tmp_path, words):
    """model_folder("Llama", **config) -> a folder with random weights large enough that argmax is no coin toss."""

    def make(family, **changes):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**{**SIZES, **changes})
        model = getattr(transformers, f"{family}ForCausalLM")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.2)
                else:
                    parameter.add_(torch.rand_like(parameter) * 0.5)
        folder = tmp_path / family
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(words.to_str())
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": corpus.END, "bos_token": corpus.END}))
        return folder, model

    return make


def of_llama_cpp(file, prompt, count):
    """Greedy tokens of llama.cpp."""
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_gpu_layers, params.cache_ram_mib = 64, 0, 0
    params.fit_params = params.warmup = False
    server = xllamacpp.Server(params)
    asked = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "verbose": True}
    return server.handle_completions(asked)["__verbose"]["tokens"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Llama", {}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Mistral", {"head_dim": 32, "sliding_window": None}),
        ("Qwen2", {"tie_word_embeddings": True}),
        ("Qwen3", {"head_dim": 32}),
    ],
)
def test_llama_cpp_says_what_transformers_says(model_folder, words, family, changes):
    folder, model = model_folder(family, **changes)
    file = export_gguf.convert(folder, folder / "model.gguf", name="test", kind="f32")
    prompt = "the quick brown fox"
    ids = torch.tensor([words.encode(prompt).ids])
    with torch.no_grad():
        wanted = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)[
            0, ids.shape[1] :
        ]
    assert of_llama_cpp(file, prompt, 8) == wanted.tolist()


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_every_type_is_read_back_within_its_rounding(model_folder, kind):
    folder, _ = model_folder("Llama")
    file = export_gguf.convert(folder, folder / "model.gguf", name="test", kind=kind)
    assert 0 < export_gguf.compare(folder, file, kind=kind) <= export_gguf._TOLERANCE[kind]
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
    assert types["blk.0.attn_q.weight"] == kind.upper()
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_a_wrong_value_in_the_file_is_found(model_folder):
    folder, _ = model_folder("Llama")
    file = export_gguf.convert(folder, folder / "model.gguf", name="test")
    content = bytearray(file.read_bytes())
    content[-1000:] = bytes(1000)
    file.write_bytes(content)
    with pytest.raises(BadFile, match="differs from"):
        export_gguf.compare(folder, file, kind="f16")


def test_an_unknown_architecture_is_refused_by_name(model_folder):
    folder, _ = model_folder("Llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["MambaForCausalLM"]}))
    with pytest.raises(BadFile, match="MambaForCausalLM") as caught:
        export_gguf.convert(folder, folder / "model.gguf", name="test")
    assert "LlamaForCausalLM" in caught.value.why
    assert not (folder / "model.gguf").exists()


def test_scaled_positions_are_refused_by_name(model_folder):
    folder, _ = model_folder("Llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_type": "yarn", "factor": 4}}))
    with pytest.raises(BadFile, match="yarn"):
        export_gguf.convert(folder, folder / "model.gguf", name="test")


def test_a_tensor_without_a_name_is_refused(model_folder):
    from safetensors.torch import load_file, save_file

    folder, _ = model_folder("Llama")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.lora_A.weight"] = torch.ones(4, 64)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(BadFile, match="lora_A"):
        export_gguf.convert(folder, folder / "model.gguf", name="test")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "no byte-level BPE"),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "Split", "pattern": {"Regex": r"\w+"}}, {"type": "ByteLevel"}],
                }
            },
            "no known name",
        ),
        ({"model": {"type": "Unigram", "vocab": {}}}, "no byte-level BPE"),
    ],
)
def test_an_unknown_tokenizer_is_refused(model_folder, change, match):
    folder, _ = model_folder("Llama")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | change))
    with pytest.raises(BadFile, match=match):
        export_gguf.convert(folder, folder / "model.gguf", name="test")


def test_the_llama_3_cut_keeps_its_name_and_its_tokens(model_folder, words):
    from tokenizers import Regex, pre_tokenizers

    folder, _ = model_folder("Llama")
    other = tokenizers.Tokenizer.from_str(words.to_str())
    other.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    (folder / "tokenizer.json").write_text(other.to_str())
    file = export_gguf.convert(folder, folder / "model.gguf", name="test")
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == "llama-bpe"


def test_an_unknown_type_is_refused(model_folder):
    folder, _ = model_folder("Llama")
    with pytest.raises(BadSetting, match="q4_0"):
        export_gguf.convert(folder, folder / "model.gguf", name="test", kind="q4_0")


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"config\.json"):
        export_gguf.convert(tmp_path, tmp_path / "model.gguf", name="test")
