"""A GGUF file, or a split one, -> Model: widths from its key-values, everything else from the tensors that are there.

A header is exact where a config needs knowledge of the code: a bias, a fused matrix, a second norm is a tensor that
exists or not. Key names: gguf-py 0.19, constants.Keys; which layers slide: llama.cpp, src/llama-model.cpp,
`hparams.set_swa_pattern`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onecard.catalog.gguf_header import GgufTensor, Header, read_header
from onecard.core.errors import BadFile
from onecard.core.model import FULL, LINEAR, MAMBA, SLIDING, Experts, Latent, Model, Recurrent

_PARALLEL = ("falcon", "phi2", "gptj", "command-r", "cohere2", "codegen")
_PERIODS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "cohere2": 4,
    "olmo2": 4,
    "olmo3": 4,
    "exaone4": 4,
    "smallthinker": 4,
}
"""every so many layers one attends to everything, the ones before slide"""
_PART = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$")


def read_gguf(path: Path) -> Model:
    """The Model of a GGUF file; any part of a split one stands for all. Raises BadFile."""
    files = parts(path)
    headers = [read_header(file) for file in files]
    values: dict[str, Any] = {}
    for header in headers:
        values = {**header.values, **values}
    return gguf_model(values, [t for header in headers for t in header.tensors], name=_stem(path), file=str(files[0]))


def parts(path: Path) -> list[Path]:
    """The files of a model: itself, or all of name-00001-of-0000N.gguf. Raises BadFile where some are missing."""
    found = _PART.match(path.name)
    if not found:
        return [path]
    stem, total = found[1], int(found[3])
    files = [path.with_name(f"{stem}-{number:05d}-of-{total:05d}.gguf") for number in range(1, total + 1)]
    missing = [file.name for file in files if not file.exists()]
    if missing or not files:
        raise BadFile(f"{path.name} is one of {total} files and {len(missing)} are missing", why=", ".join(missing[:4]),
                      next="put all parts into one folder")  # fmt: skip
    return files


def tensor_bytes(headers: Sequence[Header]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.bytes for header in headers for tensor in header.tensors)


def _stem(path: Path) -> str:
    found = _PART.match(path.name)
    return found[1] if found else path.name.removesuffix(".gguf")


class _Keys:
    """Key-values of one architecture, each by its name behind the prefix."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where
        arch = values.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise BadFile(f"{where} does not say its general.architecture", why="it holds no model that llama.cpp runs")
        self.arch = arch

    def get(self, name: str) -> Any:
        return self.values.get(f"{self.arch}.{name}")

    def integer(self, name: str) -> int | None:
        """A number; of one a layer (head counts of hybrids) the largest. Raises BadFile for anything else."""
        value = self.get(name)
        if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
            value = max(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
            raise BadFile(f"{self.where}: {self.arch}.{name} is {value!r}, not a count")
        return int(value)


def gguf_model(
    values: Mapping[str, Any], tensors: Sequence[GgufTensor], *, name: str, file: str | None = None
) -> Model:
    """The Model of key-values and tensors. Raises BadFile naming the keys that a language model needs and this lacks."""
    where = file or name
    keys = _Keys(values, where)
    shapes = {t.name: t.shape for t in tensors}
    layers, hidden, heads = (keys.integer(k) for k in ("block_count", "embedding_length", "attention.head_count"))
    table = shapes.get("token_embd.weight")
    missing = [
        label
        for label, value in (("block_count", layers), ("embedding_length", hidden), ("attention.head_count", heads))
        if not value
    ] + ([] if table and len(table) > 1 else ["token_embd.weight"])
    if missing or not layers or not hidden or not heads or not table:
        raise BadFile(f'{where} (architecture "{keys.arch}") lacks {", ".join(missing)}',
                      why="it is not a language model: a projector, an adapter, an image model or a part of a split file")  # fmt: skip
    if layers > len(shapes):  # every layer has tensors of its own; a damaged count would otherwise be walked to its end
        raise BadFile(f"{where} speaks of {layers:,} layers and has {len(shapes):,} tensors", why="the file is damaged")
    mla = _latent(keys, heads, shapes)
    length = keys.integer("attention.key_length_mla") or keys.integer("attention.key_length") or hidden // heads
    head_dim = mla.nope_dim + mla.rope_dim if mla else length
    kinds, recurrent = _kinds(keys, shapes, layers), _recurrent(keys)
    return Model(
        name=name,
        family=keys.arch,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads if mla else keys.integer("attention.head_count_kv") or heads,
        head_dim=head_dim,
        ffn=keys.integer("feed_forward_length") or keys.integer("expert_feed_forward_length") or 4 * hidden,
        vocab=table[1],
        context=keys.integer("context_length"),
        tied="output.weight" not in shapes,
        window=keys.integer("attention.sliding_window") if SLIDING in kinds else None,
        layer_kinds=kinds,
        experts=_experts(keys, shapes),
        latent=mla,
        recurrent=recurrent if LINEAR in kinds or MAMBA in kinds else None,
        licence=values.get("general.license") if isinstance(values.get("general.license"), str) else None,
        source=where,
        parameters=sum(_elements(shape) for shape in shapes.values()),
        tensor_types={t.name: t.type for t in tensors},
        tensor_shapes=shapes,
        file=file,
        **_traits(
            keys.arch, shapes, heads, head_dim, keys.get("use_parallel_residual") is True or keys.arch in _PARALLEL
        ),
    )


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _traits(
    arch: str, shapes: Mapping[str, tuple[int, ...]], heads: int, head_dim: int, parallel: bool
) -> dict[str, Any]:
    """What the tensors of one attending layer say."""
    # A linear layer of a hybrid has a fused matrix too: one with a query or a key of its own comes first.
    attending = [n.split(".")[1] for n in shapes if re.fullmatch(r"blk\.\d+\.attn_(q|k|kv_a_mqa)\.weight", n)]
    layer = attending[0] if attending else "0"
    short = {n.removeprefix(f"blk.{layer}."): s for n, s in shapes.items() if n.startswith(f"blk.{layer}.")}
    norms = ("attn_norm", "attn_norm_2", "attn_output_norm", "layer_output_norm", "ffn_norm", "post_attention_norm",
             "post_ffw_norm", "attn_post_norm", "ffn_post_norm")  # fmt: skip
    down, up = short.get("ffn_down.weight"), short.get("ffn_up.weight")
    fused = bool(down and up and len(up) > 1 and up[1] == 2 * down[0] and "ffn_gate.weight" not in short)
    query, qk = short.get("attn_q.weight", (0, 0)), short.get("attn_q_norm.weight")
    return {
        "gated": fused or any(n.startswith(("ffn_gate.", "ffn_gate_exps", "ffn_gate_up_exps")) for n in short),
        "fused_gate_up": fused,
        "fused_qkv": "attn_qkv.weight" in short,
        "norm": "layer" if "attn_norm.bias" in short or "attn_output_norm.bias" in short else "rms",
        "norms_per_layer": sum(f"{n}.weight" in short for n in norms),
        "embed_norm": "token_embd_norm.weight" in shapes,
        "positions": shapes["position_embd.weight"][1] if "position_embd.weight" in shapes else 0,
        "parallel": parallel or "attn_norm_2.weight" in short,
        "qkv_bias": "attn_q.bias" in short or "attn_qkv.bias" in short,
        "out_bias": "attn_output.bias" in short,
        "mlp_bias": "ffn_up.bias" in short or "ffn_up_exps.bias" in short,
        "head_bias": "output.bias" in shapes,
        "qk_norm": None if qk is None else ("head" if qk[0] == head_dim else "full"),
        "sinks": "attn_sinks.weight" in short,
        "gated_attention": len(query) > 1 and query[1] == 2 * heads * head_dim,
        "kind": "encoder" if arch.endswith("bert") else "decoder",
    }


def _kinds(keys: _Keys, shapes: Mapping[str, tuple[int, ...]], layers: int) -> tuple[str, ...]:
    stateful = {int(n.split(".")[1]) for n in shapes if re.match(r"blk\.\d+\.ssm_", n)}
    pattern, window = keys.get("attention.sliding_window_pattern"), keys.integer("attention.sliding_window")
    other = LINEAR if keys.arch in ("qwen3next", "qwen35", "qwen35moe", "kimi-linear") else MAMBA
    kinds = []
    for layer in range(layers):
        slides = False
        if window and isinstance(pattern, list) and layer < len(pattern):
            slides = bool(pattern[layer])
        elif window and (isinstance(pattern, int) or keys.arch in _PERIODS):
            period = pattern if isinstance(pattern, int) and pattern > 0 else _PERIODS.get(keys.arch, 1)
            slides = layer % period < period - 1
        kinds.append(other if layer in stateful else SLIDING if slides else FULL)
    return tuple(kinds) if any(k != FULL for k in kinds) else ()


def _experts(keys: _Keys, shapes: Mapping[str, tuple[int, ...]]) -> Experts | None:
    count = keys.integer("expert_count")
    if not count:
        return None
    down = next((s for n, s in shapes.items() if n.endswith("ffn_down_exps.weight")), None)
    width = (
        keys.integer("expert_feed_forward_length") or (down[0] if down else keys.integer("feed_forward_length")) or 0
    )
    shared_down = next((s for n, s in shapes.items() if n.endswith("ffn_down_shexp.weight")), None)
    shared_ffn = shared_down[0] if shared_down else 0
    return Experts(
        count=count, used=keys.integer("expert_used_count") or 1, ffn=width,
        shared=keys.integer("expert_shared_count") or (1 if shared_ffn else 0), shared_ffn=shared_ffn,
        dense_layers=keys.integer("leading_dense_block_count") or 0,
        every=keys.integer("interleave_moe_layer_step") or 1,
    )  # fmt: skip


def _latent(keys: _Keys, heads: int, shapes: Mapping[str, tuple[int, ...]]) -> Latent | None:
    rank, rope = keys.integer("attention.kv_lora_rank"), keys.integer("rope.dimension_count")
    if not rank or not rope:
        return None
    # Files of before 2025-04 have one kv_b matrix and the full widths in key_length and value_length.
    key = keys.integer("attention.key_length_mla") or keys.integer("attention.key_length") or 0
    value = keys.integer("attention.value_length_mla") or keys.integer("attention.value_length") or 0
    return Latent(
        q_rank=keys.integer("attention.q_lora_rank") or None,
        kv_rank=rank,
        rope_dim=rope,
        nope_dim=key - rope,
        v_dim=value,
    )


def _recurrent(keys: _Keys) -> Recurrent | None:
    inner, state = keys.integer("ssm.inner_size"), keys.integer("ssm.state_size")
    if not inner or not state:
        return None
    heads = keys.integer("ssm.time_step_rank") or 1
    return Recurrent(
        key_heads=keys.integer("ssm.group_count") or 1, value_heads=heads, key_dim=state, value_dim=inner // heads,
        convolution=keys.integer("ssm.conv_kernel") or 4,
    )  # fmt: skip
