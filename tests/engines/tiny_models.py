"""Networks of a few million weights in the shapes of the families that people run."""

from onecard.core.model import FULL, LINEAR, SLIDING, Experts, Latent, Model, Recurrent

_BASE = {
    "layers": 4,
    "hidden": 256,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 64,
    "ffn": 512,
    "vocab": 1000,
    "context": 4096,
}
_ALTERNATE = (SLIDING, FULL, SLIDING, FULL)


def _model(name, family, **changes):
    return Model(name=name, family=family, **{**_BASE, **changes})


MODELS = {
    m.name: m
    for m in (
        _model("llama", "llama"),
        _model("llama-bpe", "llama", vocab=34_000),
        _model("qwen2", "qwen2", qkv_bias=True),
        _model("qwen3", "qwen3", qk_norm="head", tied=True),
        _model("gemma2", "gemma2", norms_per_layer=4, window=512, layer_kinds=_ALTERNATE, tied=True),
        _model(
            "gemma3", "gemma3", norms_per_layer=4, qk_norm="head", window=512, layers=6,
            layer_kinds=(SLIDING,) * 5 + (FULL,), tied=True,
        ),
        _model("phi3", "phi3", fused_qkv=True, fused_gate_up=True),
        _model("mixtral", "llama", experts=Experts(count=8, used=2, ffn=512)),
        _model("qwen2moe", "qwen2moe", qkv_bias=True, experts=Experts(count=8, used=2, ffn=256, shared=1, shared_ffn=512)),
        _model("qwen3moe", "qwen3moe", qk_norm="head", experts=Experts(count=16, used=4, ffn=256)),
        _model(
            "gpt2", "gpt2", norm="layer", gated=False, fused_qkv=True, qkv_bias=True, out_bias=True, mlp_bias=True,
            positions=1024, context=1024, kv_heads=4, tied=True,
        ),
        _model(
            "falcon", "falcon", norm="layer", gated=False, fused_qkv=True, parallel=True, norms_per_layer=1, kv_heads=1,
            tied=True,
        ),
        _model("olmo2", "olmo2", qk_norm="full"),
        _model(
            "gpt-oss", "gpt-oss", qkv_bias=True, out_bias=True, sinks=True, window=128, layer_kinds=_ALTERNATE,
            experts=Experts(count=8, used=2, ffn=256),
        ),
        _model(
            "deepseek2", "deepseek2", kv_heads=4,
            latent=Latent(q_rank=128, kv_rank=128, rope_dim=32, nope_dim=64, v_dim=64),
            experts=Experts(count=8, used=2, ffn=256, shared=2, shared_ffn=512, dense_layers=1),
        ),
        _model(
            "qwen3next", "qwen3next", gated_attention=True, qk_norm="head",
            layer_kinds=(LINEAR, LINEAR, LINEAR, FULL),
            recurrent=Recurrent(key_heads=4, value_heads=8, key_dim=32, value_dim=32),
            experts=Experts(count=8, used=2, ffn=256, shared=1, shared_ffn=256),
        ),
    )
}  # fmt: skip
