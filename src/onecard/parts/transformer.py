"""The tensors of a decoder-only transformer: names as GGUF writes them, shapes, roles. Everything about weights follows.

Shapes are in ggml's order: the first dimension is the contiguous row (the inputs of a matrix), the second the outputs,
the third experts or heads. A model that was read from a GGUF header brings its own tensors; for the others these are
the tensors that llama.cpp's converter writes for the family (gguf-py 0.19, constants.MODEL_TENSORS).
"""

from collections.abc import Iterator
from math import prod

import msgspec

from onecard.core.model import FULL, LINEAR, MAMBA, Latent, Model, Recurrent
from onecard.parts.memo import per_model


class Tensor(msgspec.Struct, frozen=True):
    """One weight tensor."""

    name: str
    """as in GGUF: blk.3.ffn_down.weight"""
    shape: tuple[int, ...]
    """ggml order: (inputs, outputs[, experts])"""
    role: str
    """embedding, output, norm, attention, ffn, expert, router, recurrent, bias, position"""
    layer: int | None = None

    @property
    def elements(self) -> int:
        return prod(self.shape)


@per_model
def tensors(model: Model) -> tuple[Tensor, ...]:
    """Every weight tensor of the language model (a vision tower is a file of its own: parts/vision.py)."""
    if model.tensor_shapes:
        return tuple(_read(name, shape) for name, shape in model.tensor_shapes.items())
    found = list(_outside(model))
    for layer in range(model.layers):
        for name, shape, role in _layer(model, layer):
            found.append(Tensor(f"blk.{layer}.{name}", shape, role, layer))
    return tuple(found)


@per_model
def parameters(model: Model) -> int:
    """Number of weights; a tied head counts once."""
    return sum(t.elements for t in tensors(model))


@per_model
def active_parameters(model: Model) -> int:
    """Weights that one token passes through: of the experts only those that are used; the embedding row not counted."""
    share = model.experts.used / model.experts.count if model.experts else 1.0
    total = 0.0
    for tensor in tensors(model):
        if tensor.role == "embedding" and not model.tied:
            continue
        total += tensor.elements * (share if tensor.role == "expert" else 1.0)
    return round(total)


def is_moe_layer(model: Model, layer: int) -> bool:
    """Whether the feed-forward of a layer is a mixture of experts."""
    experts = model.experts
    if experts is None or layer < experts.dense_layers:
        return False
    return (layer - experts.dense_layers + 1) % experts.every == 0 if experts.every > 1 else True


def _read(name: str, shape: tuple[int, ...]) -> Tensor:
    layer = int(name.split(".")[1]) if name.startswith("blk.") else None
    if name == "token_embd.weight":
        role = "embedding"
    elif name.startswith("output.") or name == "output.weight":
        role = "output"
    elif name == "position_embd.weight":
        role = "position"
    elif "_exps" in name:
        role = "expert"
    elif "norm" in name:
        role = "norm"
    elif "ffn_gate_inp" in name:
        role = "router"
    elif name.endswith(".bias"):
        role = "bias"
    elif "ssm_" in name:
        role = "recurrent"
    else:
        role = "attention" if "attn" in name else "ffn"
    return Tensor(name, tuple(shape), role, layer)


def _outside(model: Model) -> Iterator[Tensor]:
    yield Tensor("token_embd.weight", (model.hidden, model.vocab), "embedding")
    if model.positions:
        yield Tensor("position_embd.weight", (model.hidden, model.positions), "position")
    if model.embed_norm:
        yield Tensor("token_embd_norm.weight", (model.hidden,), "norm")
        yield Tensor("token_embd_norm.bias", (model.hidden,), "norm")
    if model.kind == "encoder":
        return
    # OLMo 1 normalises without weights.
    if model.norms_per_layer:
        yield Tensor("output_norm.weight", (model.hidden,), "norm")
    if model.norm == "layer":
        yield Tensor("output_norm.bias", (model.hidden,), "norm")
    if not model.tied:
        yield Tensor("output.weight", (model.hidden, model.vocab), "output")
    if model.head_bias:
        yield Tensor("output.bias", (model.vocab,), "bias")


_Entry = tuple[str, tuple[int, ...], str]

_NORM_NAMES = {
    0: (),
    1: ("attn_norm",),
    2: ("attn_norm", "ffn_norm"),
    4: ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"),
}
"""Norms of a layer by their number: Falcon-7B and Phi-2 share one, Gemma 2 and 3 also normalise what comes out."""


def _layer(model: Model, layer: int) -> Iterator[_Entry]:
    names = _NORM_NAMES.get(model.norms_per_layer, _NORM_NAMES[2])
    if model.family in ("olmo2", "olmo3"):
        names = ("post_attention_norm", "post_ffw_norm")
    elif model.family in ("qwen3next", "gpt-oss"):
        names = ("attn_norm", "post_attention_norm")
    elif model.family == "falcon" and model.norms_per_layer == 2:
        names = ("attn_norm", "attn_norm_2")
    for name in names:
        yield f"{name}.weight", (model.hidden,), "norm"
        if model.norm == "layer":
            yield f"{name}.bias", (model.hidden,), "norm"
    kind = model.kind_of(layer)
    if kind in (LINEAR, MAMBA):
        assert model.recurrent is not None
        yield from _recurrent(model, model.recurrent, kind)
    elif model.latent:
        yield from _latent(model, model.latent)
    else:
        yield from _attention(model)
    yield from _experts(model) if is_moe_layer(model, layer) else _ffn(model, model.ffn)


def _attention(model: Model) -> Iterator[_Entry]:
    q, kv, hidden = model.heads * model.head_dim, model.kv_heads * model.head_dim, model.hidden
    if model.fused_qkv:
        yield "attn_qkv.weight", (hidden, q + 2 * kv), "attention"
        if model.qkv_bias:
            yield "attn_qkv.bias", (q + 2 * kv,), "bias"
    else:
        for name, width in (("attn_q", 2 * q if model.gated_attention else q), ("attn_k", kv), ("attn_v", kv)):
            yield f"{name}.weight", (hidden, width), "attention"
            if model.qkv_bias:
                yield f"{name}.bias", (width,), "bias"
    yield "attn_output.weight", (q, hidden), "attention"
    if model.out_bias:
        yield "attn_output.bias", (hidden,), "bias"
    if model.qk_norm:
        per_head = model.qk_norm == "head"
        yield "attn_q_norm.weight", (model.head_dim if per_head else q,), "norm"
        yield "attn_k_norm.weight", (model.head_dim if per_head else kv,), "norm"
    if model.sinks:
        yield "attn_sinks.weight", (model.heads,), "bias"


def _latent(model: Model, latent: Latent) -> Iterator[_Entry]:
    hidden, heads = model.hidden, model.heads
    width = heads * (latent.nope_dim + latent.rope_dim)
    if latent.q_rank:
        yield "attn_q_a.weight", (hidden, latent.q_rank), "attention"
        yield "attn_q_a_norm.weight", (latent.q_rank,), "norm"
        yield "attn_q_b.weight", (latent.q_rank, width), "attention"
    else:
        yield "attn_q.weight", (hidden, width), "attention"
    yield "attn_kv_a_mqa.weight", (hidden, latent.kv_rank + latent.rope_dim), "attention"
    yield "attn_kv_a_norm.weight", (latent.kv_rank,), "norm"
    yield "attn_k_b.weight", (latent.nope_dim, latent.kv_rank, heads), "attention"
    yield "attn_v_b.weight", (latent.kv_rank, latent.v_dim, heads), "attention"
    yield "attn_output.weight", (heads * latent.v_dim, hidden), "attention"


def _recurrent(model: Model, state: Recurrent, kind: str) -> Iterator[_Entry]:
    keys, values = state.key_heads * state.key_dim, state.value_heads * state.value_dim
    if kind == LINEAR:
        # Gated delta net (Qwen3-Next): q, k and v in one, an output gate, decay and strength a value head.
        yield "attn_qkv.weight", (model.hidden, 2 * keys + values), "recurrent"
        yield "attn_gate.weight", (model.hidden, values), "recurrent"
        yield "ssm_conv1d.weight", (state.convolution, 2 * keys + values), "recurrent"
        yield "ssm_ba.weight", (model.hidden, 2 * state.value_heads), "recurrent"
        yield "ssm_dt.bias", (state.value_heads,), "bias"
        yield "ssm_a", (state.value_heads,), "bias"
        yield "ssm_norm.weight", (state.value_dim,), "norm"
        yield "ssm_out.weight", (values, model.hidden), "recurrent"
        return
    # Mamba-2: input projection to gate, values, B, C and step sizes in one.
    yield "ssm_in.weight", (model.hidden, 2 * values + 2 * keys + state.value_heads), "recurrent"
    yield "ssm_conv1d.weight", (state.convolution, values + 2 * keys), "recurrent"
    yield "ssm_conv1d.bias", (values + 2 * keys,), "bias"
    for name in ("ssm_dt.bias", "ssm_a", "ssm_d"):
        yield name, (state.value_heads,), "bias"
    yield "ssm_norm.weight", (values,), "norm"
    yield "ssm_out.weight", (values, model.hidden), "recurrent"


def _ffn(model: Model, width: int) -> Iterator[_Entry]:
    hidden = model.hidden
    if model.gated and not model.fused_gate_up:
        yield "ffn_gate.weight", (hidden, width), "ffn"
    yield "ffn_up.weight", (hidden, 2 * width if model.gated and model.fused_gate_up else width), "ffn"
    yield "ffn_down.weight", (width, hidden), "ffn"
    if model.mlp_bias:
        yield "ffn_up.bias", (width,), "bias"
        yield "ffn_down.bias", (hidden,), "bias"


def _experts(model: Model) -> Iterator[_Entry]:
    experts = model.experts
    assert experts is not None
    hidden, width, count = model.hidden, experts.ffn, experts.count
    yield "ffn_gate_inp.weight", (hidden, count), "router"
    yield "ffn_gate_exps.weight", (hidden, width, count), "expert"
    yield "ffn_up_exps.weight", (hidden, width, count), "expert"
    yield "ffn_down_exps.weight", (width, hidden, count), "expert"
    if model.family == "gpt-oss":
        yield "ffn_gate_inp.bias", (count,), "bias"
        yield "ffn_gate_exps.bias", (width, count), "expert"
        yield "ffn_up_exps.bias", (width, count), "expert"
        yield "ffn_down_exps.bias", (hidden, count), "expert"
    if experts.shared:
        shared = experts.shared_ffn
        yield "ffn_gate_shexp.weight", (hidden, shared), "ffn"
        yield "ffn_up_shexp.weight", (hidden, shared), "ffn"
        yield "ffn_down_shexp.weight", (shared, hidden), "ffn"
        if model.family in ("qwen2moe", "qwen3next"):
            yield "ffn_gate_inp_shexp.weight", (hidden,), "router"
    if model.family == "deepseek2" and experts.count == 256:  # V3 and R1; V2 has no correction of its router
        yield "exp_probs_b.bias", (count,), "bias"


def attention_layers(model: Model) -> int:
    """Layers that keep keys and values: full and sliding ones."""
    return model.layers - model.count_kind(LINEAR) - model.count_kind(MAMBA)


def all_full(model: Model) -> bool:
    """Whether every layer attends to everything."""
    return model.count_kind(FULL) == model.layers
