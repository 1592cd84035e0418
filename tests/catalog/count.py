"""Parameters of a Model, matrix by matrix: written apart from the package's own formulas, to check shapes against published counts."""

from onecard.core.model import FULL, LINEAR, SLIDING, Model


def linear(inner: int, outer: int, bias: bool = False) -> int:
    return inner * outer + (outer if bias else 0)


def attention(m: Model) -> int:
    h = m.hidden
    if m.latent:
        q = m.latent
        head = q.nope_dim + q.rope_dim
        queries = (
            linear(h, q.q_rank) + q.q_rank + linear(q.q_rank, m.heads * head) if q.q_rank else linear(h, m.heads * head)
        )
        compressed = linear(h, q.kv_rank + q.rope_dim) + q.kv_rank
        expanded = linear(q.kv_rank, m.heads * (q.nope_dim + q.v_dim))
        return queries + compressed + expanded + linear(m.heads * q.v_dim, h)
    wide, narrow = m.heads * m.head_dim, m.kv_heads * m.head_dim
    total = linear(h, wide * (2 if m.gated_attention else 1), m.qkv_bias) + 2 * linear(h, narrow, m.qkv_bias)
    total += linear(wide, h, m.out_bias)
    total += {None: 0, "head": 2 * m.head_dim, "full": wide + narrow}[m.qk_norm]
    return total + (m.heads if m.sinks else 0)


def delta_net(m: Model) -> int:
    r = m.recurrent
    assert r
    keys, values = r.key_heads * r.key_dim, r.value_heads * r.value_dim
    mixed = linear(m.hidden, 2 * keys + 2 * values) + linear(m.hidden, 2 * r.value_heads)
    return mixed + (2 * keys + values) * r.convolution + 2 * r.value_heads + r.value_dim + linear(values, m.hidden)


def mlp(m: Model, width: int) -> int:
    ups = 2 if m.gated else 1
    return ups * linear(m.hidden, width, m.mlp_bias) + linear(width, m.hidden, m.mlp_bias)


def feed_forward(m: Model, layer: int) -> int:
    e = m.experts
    if e is None or layer < e.dense_layers or (layer + 1) % e.every:
        return mlp(m, m.ffn)
    router = linear(m.hidden, e.count, m.mlp_bias)
    shared = mlp(m, e.shared_ffn) if e.shared else 0
    gate = m.hidden if e.shared and m.family in ("qwen2moe", "qwen3next") else 0
    correction = (
        e.count if m.family == "deepseek2" and e.count == 256 else 0
    )  # V3 and R1 steer their router with a bias
    return e.count * mlp(m, e.ffn) + router + shared + gate + correction


def count(m: Model) -> int:
    """All parameters of the language model (no vision tower)."""
    vector = m.hidden * (2 if m.norm == "layer" else 1)
    total = m.vocab * m.hidden + m.positions * m.hidden
    for layer in range(m.layers):
        kind = m.kind_of(layer)
        assert kind in (FULL, SLIDING, LINEAR)
        total += delta_net(m) if kind == LINEAR else attention(m)
        total += feed_forward(m, layer) + m.norms_per_layer * vector
    if m.norms_per_layer and m.kind == "decoder":
        total += vector
    total += vector if m.embed_norm else 0
    if not m.tied:
        total += m.vocab * m.hidden
    return total + (m.vocab if m.head_bias else 0)


def count_vision(m: Model) -> int:
    """Parameters of the tower and the projector, by kind of tower."""
    v = m.vision
    if v is None:
        return 0
    h, pixels = v.hidden, 3 * v.patch * v.patch
    projector = sum(out * inner for out, inner in v.projector)
    if (
        m.family == "gemma3"
    ):  # SigLIP: biases everywhere, a table of positions; the projector is one matrix behind a norm
        layer = 4 * linear(h, h, True) + linear(h, v.ffn, True) + linear(v.ffn, h, True) + 4 * h
        table = (v.image // v.patch) ** 2 * h
        return v.layers * layer + pixels * h + h + table + 2 * h + projector + h
    if m.family == "qwen2vl":  # two frames a patch, biases in the layers and the merger, rotary positions
        ups, norm = (2, h) if v.gated else (1, 2 * h)  # 2.5: SwiGLU and RMS norms; 2: two matrices and layer norms
        layer = 4 * linear(h, h, True) + ups * linear(h, v.ffn, True) + linear(v.ffn, h, True) + 2 * norm
        return v.layers * layer + 2 * pixels * h + norm + projector + sum(out for out, _ in v.projector)
    layer = 4 * h * h + 3 * h * v.ffn + 2 * h  # Pixtral: no biases, a norm in front and one before the merger
    return v.layers * layer + pixels * h + h + projector + h
