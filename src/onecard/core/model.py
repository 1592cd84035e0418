"""A Model: the shape of a network that the field names by a name; everything that memory and speed follow from.

Rows of the catalogue, a `config.json` and a GGUF header all become this one value; the formulas of parts/ read only it.
"""

import msgspec

FULL, SLIDING, LINEAR, MAMBA = "full", "sliding", "linear", "mamba"
"""What a layer's token mixer is: attention over everything, over a window, gated delta rule, state space."""


class Experts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mixture-of-experts feed-forward."""

    count: int
    used: int
    """experts a token passes through (top-k), shared ones not counted"""
    ffn: int
    """inner width of one expert"""
    shared: int = 0
    """shared experts that every token passes through"""
    shared_ffn: int = 0
    """inner width of all shared experts together"""
    dense_layers: int = 0
    """leading layers with an ordinary feed-forward of width Model.ffn"""
    every: int = 1
    """a MoE layer every so many layers"""


class Latent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one compressed vector a token instead of K and V."""

    q_rank: int | None
    """None: queries are not compressed (V2-Lite)"""
    kv_rank: int
    rope_dim: int
    nope_dim: int
    v_dim: int


class Recurrent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of the layers that are not attention (gated delta net, Mamba): does not grow with the context."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    convolution: int = 4


class Vision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A vision tower and the projector in front of a language model."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    image: int
    """side of the input in pixels"""
    patch: int
    tokens: int
    """image tokens that reach the language model for one image"""
    gated: bool = False
    projector: tuple[tuple[int, int], ...] = ()
    """(out, in) of each projector matrix"""


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Shapes of a decoder-only language model (also GPT-2 and Falcon kinds; encoder kinds say so in `kind`).

    Widths are numbers of elements; `layer_kinds` has one entry a layer, empty meaning that all are FULL.
    """

    name: str
    family: str
    """architecture as GGUF names it: llama, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, deepseek2, gpt-oss, gpt2, falcon ..."""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int | None = None
    """longest context that the model was made for"""
    tied: bool = False
    """the head is the embedding table"""
    gated: bool = True
    """gate, up and down (SwiGLU, GeGLU) instead of up and down"""
    norm: str = "rms"
    """rms or layer (with bias)"""
    norms_per_layer: int = 2
    """0: norms without weights, the final one too (OLMo 1)"""
    embed_norm: bool = False
    """a norm right behind the embedding (BLOOM, BERT)"""
    parallel: bool = False
    """attention and feed-forward side by side (Falcon, Phi-2, GPT-J)"""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    fused_qkv: bool = False
    fused_gate_up: bool = False
    qk_norm: str | None = None
    """None, "head" (one vector of head_dim) or "full" (one of heads x head_dim)"""
    sinks: bool = False
    """one learned attention sink a head (gpt-oss)"""
    gated_attention: bool = False
    """the query projection also makes an output gate of the same width (Qwen3-Next)"""
    positions: int = 0
    """rows of a learned position table (GPT-2, OPT)"""
    window: int | None = None
    """tokens that a SLIDING layer looks back"""
    layer_kinds: tuple[str, ...] = ()
    experts: Experts | None = None
    latent: Latent | None = None
    recurrent: Recurrent | None = None
    vision: Vision | None = None
    kind: str = "decoder"
    """decoder, encoder (BERT) or encoder-decoder (T5)"""
    hub_id: str | None = None
    licence: str | None = None
    source: str | None = None
    aliases: tuple[str, ...] = ()
    parameters: int | None = None
    """as published or read from the file's header; parts/ counts it from the shapes, a test holds both together"""
    dtype: str = "bf16"
    """of the published weights"""
    tensor_types: dict[str, str] = {}
    """tensor name -> GGUF type, where a GGUF header was read: exact, no mix is assumed"""
    tensor_shapes: dict[str, tuple[int, ...]] = {}
    file: str | None = None
    """path of the GGUF file or folder that was read"""
    note: str | None = None
    """what a reader had to assume, for example an architecture that it does not know, read as a Llama"""

    def kind_of(self, layer: int) -> str:
        """FULL, SLIDING, LINEAR or MAMBA."""
        return self.layer_kinds[layer] if self.layer_kinds else FULL

    def count_kind(self, kind: str) -> int:
        """How many layers are of one kind."""
        return self.layer_kinds.count(kind) if self.layer_kinds else (self.layers if kind == FULL else 0)
