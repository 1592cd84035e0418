"""Converts a model folder (config.json, safetensors, tokenizer.json) to one GGUF file, and reads it back to compare.

The names of the tensors come from gguf's own TensorNameMap; what is left is one row for each architecture: how its
queries and keys are laid out. An architecture, a tensor or a tokenizer that is not known here is refused by its name: a file that
loads and answers nonsense is worse than none. Tensors are streamed one by one, so a model larger than the memory
can be converted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, BadSetting
from onecard.engines.gguf_vocabulary import add_vocabulary

KINDS = ("f32", "f16", "bf16", "q8_0")


@dataclass(frozen=True)
class _Layout:
    """An architecture as GGUF sees it."""

    arch: str
    """key of gguf.MODEL_ARCH"""
    interleaved: bool
    """rotates neighbouring pairs (llama) instead of halves: rows of q and k are put in that order"""


_LAYOUTS = {
    "LlamaForCausalLM": _Layout("LLAMA", interleaved=True),
    "MistralForCausalLM": _Layout("LLAMA", interleaved=True),
    "Qwen2ForCausalLM": _Layout("QWEN2", interleaved=False),
    "Qwen3ForCausalLM": _Layout("QWEN3", interleaved=False),
}
"""LLAMA_ROPE_TYPE_NORM or _NEOX: llama_model_rope_type in llama.cpp's llama-model.cpp"""

_TOLERANCE = {"f32": 0.0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 2**-6}
"""largest error of one value, as a share of the largest of its tensor: rounding to 11, 8 and (in blocks of 32) 7 bits"""


def convert(folder: Path, target: Path, *, name: str, kind: str = "f16") -> Path:
    """Write `target` from a model folder and compare it with its source. Matrices become `kind`, vectors stay fp32.

    Raises BadSetting for an unknown kind, BadFile for an unknown architecture, tensor or tokenizer, or a bad result.
    """
    import gguf

    if kind not in KINDS:
        raise BadSetting(f'"{kind}" is not a type to export to', next=f"one of {', '.join(KINDS)}")
    config = _config(folder)
    layout = _layout(config, folder)
    arch = gguf.MODEL_ARCH[layout.arch]
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    part = target.with_name(target.name + ".part")
    writer = gguf.GGUFWriter(part, gguf.MODEL_ARCH_NAMES[arch], use_temp_file=False)
    writer.add_name(name)
    writer.add_file_type(int(getattr(gguf.LlamaFileType, _FILE_TYPES[kind])))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, config)
    add_vocabulary(writer, folder, config["vocab_size"])
    plan = [(_gguf_name(names, source), source, size) for source, size in _sizes(folder)]
    for called, _, size in plan:
        _declare(writer, called, size, _kind_of(size, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for (called, _, size), (_, value) in zip(plan, _tensors(folder), strict=True):
        writer.write_tensor_data(_encoded(_arranged(value, called, config, layout), _kind_of(size, kind)))
    writer.close()
    compare(folder, part, kind=kind)
    part.replace(target)
    return target


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def compare(folder: Path, file: Path, *, kind: str) -> float:
    """Read a converted file back and hold every value against the source; returns the largest relative error.

    Raises BadFile where a tensor is missing or further off than the rounding of its type.
    """
    import gguf
    import numpy
    from gguf.quants import dequantize

    config = _config(folder)
    layout = _layout(config, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[layout.arch], config["num_hidden_layers"])
    stored = {t.name: t for t in gguf.GGUFReader(file).tensors}
    worst = 0.0
    for source, value in _tensors(folder):
        called = _gguf_name(names, source)
        wanted = _arranged(value, called, config, layout)
        if called not in stored:
            raise BadFile(f"{called} is missing in {file}", next="export again")
        found = dequantize(stored[called].data, stored[called].tensor_type).reshape(wanted.shape)
        largest = float(numpy.abs(wanted).max()) or 1.0
        off = float(numpy.abs(found - wanted).max()) / largest
        if off > _TOLERANCE[_kind_of(wanted.shape, kind)]:
            raise BadFile(
                f"{called} in {file} differs from {source} by {off:.2g} of its largest value", next="export again"
            )
        worst = max(worst, off)
    return worst


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise BadFile(
            f"{file} cannot be read", why=str(error), next="give a model folder with its config.json"
        ) from None
    return config


def _layout(config: dict[str, Any], folder: Path) -> _Layout:
    called = (config.get("architectures") or ["nothing"])[0]
    if called not in _LAYOUTS:
        raise BadFile(
            f"{called} in {folder / 'config.json'} cannot be converted to GGUF here",
            why=f"known are {', '.join(_LAYOUTS)}; another layout would load and answer nonsense",
            next="use the model folder itself, or llama.cpp's own converter",
        )
    return _LAYOUTS[called]


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        raise BadFile(
            f'positions are scaled by "{kind}", which cannot be converted to GGUF here',
            next="use the model folder itself",
        )
    writer.add_rope_freq_base(float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0))


def _gguf_name(names: Any, source: str) -> str:
    found = names.get_name(key=source, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise BadFile(
            f"the tensor {source} has no name in GGUF",
            why="the model has parts that its architecture does not name (an adapter that was not merged?)",
            next="merge adapters first, or use the model folder itself",
        )
    return str(found)


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise BadFile(f"there is no .safetensors file in {folder}", next="give a model folder with its weights")
    return found


def _sizes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import safe_open

    for file in _files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in list(opened.keys()):
                yield name, tuple(opened.get_slice(name).get_shape())


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, fp32 array) one by one, in the order of _sizes."""
    from safetensors import safe_open

    for file in _files(folder):
        with safe_open(file, framework="pt", device="cpu") as opened:
            for name in list(opened.keys()):
                yield name, opened.get_tensor(name).float().numpy()


def _arranged(value: Any, called: str, config: dict[str, Any], layout: _Layout) -> Any:
    """Rows of q and k in GGUF's order: of each head, first halves and second halves alternate."""
    is_k = ".attn_k." in called
    if not layout.interleaved or not (is_k or ".attn_q." in called):
        return value
    heads = (config.get("num_key_value_heads") if is_k else None) or config["num_attention_heads"]
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return halves.swapaxes(1, 2).reshape(value.shape)


def _kind_of(size: tuple[int, ...], kind: str) -> str:
    """Vectors stay fp32; a matrix whose rows are not whole blocks falls back to f16."""
    if len(size) < 2:
        return "f32"
    return "f16" if kind == "q8_0" and size[-1] % 32 else kind


def _declare(writer: Any, called: str, size: tuple[int, ...], kind: str) -> None:
    import gguf
    import numpy
    from gguf.quants import quant_shape_to_byte_shape

    quant = gguf.GGMLQuantizationType[kind.upper()]
    stored = quant_shape_to_byte_shape(size, quant) if kind in ("q8_0", "bf16") else size
    dtype = {"f32": numpy.float32, "f16": numpy.float16}.get(kind, numpy.uint8)
    nbytes = int(numpy.prod(stored)) * numpy.dtype(dtype).itemsize
    writer.add_tensor_info(called, stored, numpy.dtype(dtype), nbytes, raw_dtype=quant)


def _encoded(value: Any, kind: str) -> Any:
    import gguf
    import numpy
    from gguf.quants import quantize

    if kind in ("f32", "f16"):
        return numpy.ascontiguousarray(value, dtype=numpy.float32 if kind == "f32" else numpy.float16)
    return quantize(numpy.ascontiguousarray(value), gguf.GGMLQuantizationType[kind.upper()])
