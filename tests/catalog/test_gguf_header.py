"""GGUF headers of files that the gguf library wrote, and of what is left of them when they are cut or damaged."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onecard.catalog.gguf_header import TYPES, GgufTensor, Length, read_header
from onecard.catalog.gguf_model import gguf_model, parts, read_gguf, tensor_bytes
from onecard.catalog.lookup import find_model
from onecard.catalog.models import models
from onecard.core.errors import BadFile
from onecard.core.model import FULL, LINEAR, SLIDING, Model
from onecard.engines.gguf_metadata import metadata
from onecard.parts import quantized
from onecard.parts.kv_cache import LLAMA_WINDOWS
from onecard.parts.transformer import tensors

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")

H, F, V, LAYERS, HEADS, KV, D = 64, 256, 300, 2, 4, 2, 16


def layer(i: int, **more: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes = {
        "attn_norm": (H,), "attn_q": (H, HEADS * D), "attn_k": (H, KV * D), "attn_v": (H, KV * D), "attn_output": (HEADS * D, H),
        "ffn_norm": (H,), "ffn_gate": (H, F), "ffn_up": (H, F), "ffn_down": (F, H),
    }  # fmt: skip
    return {f"blk.{i}.{name}": shape for name, shape in {f"{n}.weight": s for n, s in shapes.items()}.items()} | {
        f"blk.{i}.{name}": shape for name, shape in more.items()
    }


def write(
    path: Path,
    arch: str = "llama",
    shapes: dict | None = None,
    types: dict | None = None,
    vocab: int = 0,
    **values: object,
) -> Path:
    """A file as the gguf library writes it: ggml's order of dimensions in `shapes`, data all zero."""
    writer = gguf.GGUFWriter(path, arch)
    base = {"block_count": LAYERS, "embedding_length": H, "feed_forward_length": F, "attention.head_count": HEADS,
            "attention.head_count_kv": KV, "context_length": 2048}  # fmt: skip
    for key, value in (base | values).items():
        if isinstance(value, list):
            writer.add_array(f"{arch}.{key}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{arch}.{key}", value)
        else:
            writer.add_uint32(f"{arch}.{key}", value)
    if vocab:
        writer.add_token_list([f"token {i}" for i in range(vocab)])
    if shapes is None:
        shapes = {"token_embd.weight": (H, V), "output_norm.weight": (H,), "output.weight": (H, V)}
        for i in range(LAYERS):
            shapes |= layer(i)
    for name, shape in shapes.items():
        kind = (types or {}).get(name, "F32")
        quantised = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[quantised]
        if kind == "F32":
            writer.add_tensor(name, np.zeros(shape[::-1], np.float32))
        else:
            rows = np.zeros((*shape[:0:-1], shape[0] // block * size), np.uint8)
            writer.add_tensor(name, rows, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kinds = {
        "blk.0.ffn_down.weight": "Q4_K",
        "blk.1.ffn_down.weight": "Q6_K",
        "token_embd.weight": "Q8_0",
        "blk.0.attn_q.weight": "Q4_0",
    }
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", types=kinds, vocab=1500)


def test_types_are_those_of_the_library_and_of_parts():
    for number, (name, block, size) in TYPES.items():
        assert quantized.GGUF_BLOCKS[name] == (block, size)
        if number in list(gguf.GGMLQuantizationType):
            kind = gguf.GGMLQuantizationType(number)
            assert kind.name == name
            assert gguf.GGML_QUANT_SIZES[kind] == (block, size)
    known = {k.value for k in gguf.GGMLQuantizationType if k.name in quantized.GGUF_BLOCKS}
    assert {n for n in known if n not in TYPES} <= {k.value for k in gguf.GGMLQuantizationType if k.name == "Q1_0"}


def test_it_reads_what_the_library_reads(whole: Path):
    header, reader = read_header(whole), gguf.GGUFReader(whole)
    assert header.data == reader.data_offset
    assert [(t.name, t.shape, t.type, t.bytes, header.data + t.offset) for t in header.tensors] == [
        (t.name, tuple(int(d) for d in t.shape), t.tensor_type.name, int(t.n_bytes), int(t.data_offset))
        for t in reader.tensors
    ]
    assert header.values["llama.block_count"] == LAYERS
    assert header.values["tokenizer.ggml.tokens"] == 1500
    assert isinstance(header.values["tokenizer.ggml.tokens"], Length)


def test_the_model(whole: Path):
    model = read_gguf(whole)
    assert (model.name, model.family, model.layers, model.hidden, model.heads, model.kv_heads) == (
        "tiny",
        "llama",
        2,
        H,
        HEADS,
        KV,
    )
    assert (model.head_dim, model.ffn, model.vocab, model.context, model.tied, model.gated) == (
        D,
        F,
        V,
        2048,
        False,
        True,
    )
    assert model.tensor_types["blk.0.ffn_down.weight"] == "Q4_K"
    assert model.tensor_shapes["blk.0.ffn_down.weight"] == (F, H)
    assert tensor_bytes([read_header(whole)]) == sum(
        quantized.tensor_bytes(model.tensor_types[t.name], t.shape) for t in tensors(model)
    )
    assert find_model(str(whole)) == model


@pytest.mark.slow
def test_every_prefix_is_refused(whole: Path, tmp_path: Path):
    """Cut anywhere: within the magic, a string, the vocabulary, the tensor table, the data."""
    content = whole.read_bytes()
    header = read_header(whole).data
    end = max(read_header(whole).data + t.offset + t.bytes for t in read_header(whole).tensors)
    cut = tmp_path / "cut.gguf"
    lengths = [
        *range(2000),
        *range(2000, header, 97),
        *range(header - 60, header + 40),
        *range(header, end, 7919),
        end - 1,
    ]
    for length in lengths:
        cut.write_bytes(content[:length])
        with pytest.raises(BadFile):
            read_gguf(cut)
    cut.write_bytes(content[:end])
    assert read_gguf(cut).layers == LAYERS


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 3000), value=st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_a_model_or_a_clear_error(whole: Path, tmp_path: Path, at: int, value: bytes):
    content = bytearray(whole.read_bytes())
    content[at : at + len(value)] = value
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    with contextlib.suppress(BadFile):
        assert isinstance(read_gguf(damaged), Model)


def test_a_count_of_layers_that_cannot_be_is_refused_at_once(whole: Path, tmp_path: Path):
    content = bytearray(whole.read_bytes())
    at = content.index(b"llama.block_count") + len("llama.block_count") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    with pytest.raises(BadFile, match="layers"):
        read_gguf(damaged)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"", "0 bytes"), (b"GG", "2 bytes"), (b"PK\x03\x04" + bytes(60), "not a GGUF"), (b"tjgg" + bytes(60), "old GGML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(40), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0) + bytes(40), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(40), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + bytes(40), "header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60) + bytes(40), "header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(40), "architecture"),
    ],
)  # fmt: skip
def test_foreign_files(tmp_path: Path, start: bytes, says: str):
    path = tmp_path / "x.gguf"
    path.write_bytes(start)
    with pytest.raises(BadFile, match=says):
        read_gguf(path)


def test_a_projector_is_no_language_model(tmp_path: Path):
    path = write(tmp_path / "mmproj.gguf", arch="clip", shapes={"v.patch_embd.weight": (14, 14, 3, 32)})
    with pytest.raises(BadFile, match="token_embd"):
        read_gguf(path)


def test_traits_come_from_tensors(tmp_path: Path):
    shapes = {"token_embd.weight": (H, V), "output_norm.weight": (H,)}
    for i in range(LAYERS):
        shapes |= layer(i, **{"attn_q.bias": (HEADS * D,), "attn_q_norm.weight": (D,), "post_attention_norm.weight": (H,),
                              "post_ffw_norm.weight": (H,), "attn_sinks.weight": (HEADS,)})  # fmt: skip
    model = read_gguf(
        write(tmp_path / "g.gguf", "gemma3", shapes, **{"attention.sliding_window": 512, "block_count": 7})
    )
    assert model.tied
    assert model.qkv_bias
    assert model.sinks
    assert (model.qk_norm, model.norms_per_layer, model.window) == ("head", 4, 512)
    assert model.layer_kinds == (SLIDING,) * 5 + (FULL, SLIDING)


def test_fused_matrices(tmp_path: Path):
    shapes = {"token_embd.weight": (H, V), "output_norm.weight": (H,)}
    for i in range(LAYERS):
        own = {"attn_norm": (H,), "attn_qkv": (H, (HEADS + 2 * KV) * D), "attn_output": (H, H), "ffn_norm": (H,), "ffn_up": (H, 2 * F),
               "ffn_down": (F, H)}  # fmt: skip
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in own.items()}
    model = read_gguf(write(tmp_path / "p.gguf", "phi3", shapes))
    assert model.fused_qkv
    assert model.fused_gate_up
    assert model.gated


def test_experts_latent_and_recurrent_layers(tmp_path: Path):
    shapes = {"token_embd.weight": (H, V), "output_norm.weight": (H,), "output.weight": (H, V)}
    for i in range(LAYERS):
        shapes |= layer(i, **{"ffn_gate_inp.weight": (H, 8), "ffn_down_exps.weight": (32, H, 8), "ffn_gate_exps.weight": (H, 32, 8),
                              "ffn_up_exps.weight": (H, 32, 8), "ffn_down_shexp.weight": (48, H)})  # fmt: skip
    values = {"expert_count": 8, "expert_used_count": 2, "leading_dense_block_count": 1, "rope.dimension_count": 8}
    values |= {"attention.kv_lora_rank": 32, "attention.key_length_mla": 24, "attention.value_length_mla": 16}
    values |= {"attention.key_length": 40}
    model = read_gguf(write(tmp_path / "d.gguf", "deepseek2", shapes, **values))
    assert model.experts is not None
    assert model.latent is not None
    assert (
        model.experts.count,
        model.experts.used,
        model.experts.ffn,
        model.experts.shared_ffn,
        model.experts.dense_layers,
    ) == (8, 2, 32, 48, 1)
    assert (model.latent.kv_rank, model.latent.nope_dim, model.latent.rope_dim, model.latent.v_dim, model.head_dim) == (
        32,
        16,
        8,
        16,
        24,
    )
    shapes = {"token_embd.weight": (H, V), "output_norm.weight": (H,), **layer(1), "blk.0.ssm_conv1d.weight": (4, 96)}
    values = {
        "ssm.inner_size": 32,
        "ssm.state_size": 8,
        "ssm.time_step_rank": 4,
        "ssm.group_count": 2,
        "ssm.conv_kernel": 4,
    }
    model = read_gguf(write(tmp_path / "n.gguf", "qwen3next", shapes, **values))
    assert model.layer_kinds == (LINEAR, FULL)
    assert model.recurrent is not None
    assert (model.recurrent.value_heads, model.recurrent.value_dim, model.recurrent.key_heads) == (4, 8, 2)


def test_head_counts_may_differ_by_layer(tmp_path: Path):
    model = read_gguf(write(tmp_path / "h.gguf", **{"attention.head_count_kv": [0, 2]}))
    assert model.kv_heads == 2


def test_a_split_file_is_read_from_any_of_its_parts(tmp_path: Path):
    rest = {k: v for i in range(LAYERS) for k, v in layer(i).items()}
    first = write(tmp_path / "m-00001-of-00002.gguf", shapes={"token_embd.weight": (H, V), "output_norm.weight": (H,)})
    with pytest.raises(BadFile, match="missing"):
        read_gguf(first)
    writer = gguf.GGUFWriter(tmp_path / "m-00002-of-00002.gguf", "llama")
    for name, shape in rest.items():
        writer.add_tensor(name, np.zeros(shape[::-1], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = read_gguf(tmp_path / "m-00002-of-00002.gguf")
    assert model.name == "m"
    assert model == read_gguf(first)
    assert len(model.tensor_shapes) == 2 + len(rest)
    assert parts(first) == [first, tmp_path / "m-00002-of-00002.gguf"]
    assert find_model(str(tmp_path)) == model


NOT_IN_A_FILE = {
    "name",
    "hub_id",
    "licence",
    "source",
    "aliases",
    "parameters",
    "dtype",
    "tensor_types",
    "tensor_shapes",
    "file",
    "note",
    "vision",
}


def one_a_family() -> list:
    """All decoders; those that are not the first of their family are slow."""
    seen: set[str] = set()
    found = []
    for each in models():
        if each.kind == "decoder":
            found.append(pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.family in seen else []))
            seen.add(each.family)
    return found


@pytest.mark.parametrize("each", one_a_family())
def test_the_header_of_every_catalogue_model_reads_back_as_it(each: Model):
    """The tensors that the formulas give and the key-values that the synthetic file gets, read as a header."""
    listed = [GgufTensor(t.name, "F16", t.shape, 0, 0) for t in tensors(each)]
    read = gguf_model(metadata(each, each.name), listed, name=each.name)
    differ = {
        f: (getattr(each, f), getattr(read, f)) for f in each.__struct_fields__ if getattr(each, f) != getattr(read, f)
    }
    if (
        each.family not in LLAMA_WINDOWS
    ):  # llama.cpp runs these with the whole context, and its files say nothing of windows
        differ.pop("window", None)
        differ.pop("layer_kinds", None)
    if each.context is None:
        differ.pop("context", None)
    assert not set(differ) - NOT_IN_A_FILE
