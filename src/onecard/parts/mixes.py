"""Which GGUF type each tensor gets when llama.cpp quantises a model to "Q4_K_M" and the like: a mix, not one type.

The rules follow llama_tensor_get_type_impl, tensor_allows_quantization and tensor_type_fallback of src/llama-quant.cpp
at llama.cpp 007dbbf. The idea behind them: the output matrix and the values of the attention are sensitive and get more
bits, as does the down projection of the first and last eighth of the layers and every third between ("use more bits").
What is not a matrix ending in ".weight", norms, routers and convolutions stay as they are.
"""

from collections.abc import Iterator
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

import msgspec

from onecard.core.errors import UnknownName
from onecard.core.model import Model
from onecard.parts.memo import per_model
from onecard.parts.quantized import GGUF_BLOCKS, bits
from onecard.parts.transformer import Tensor, tensors

MIXES: dict[str, str] = {
    "f32": "F32", "f16": "F16", "bf16": "BF16",
    "q8_0": "Q8_0", "q6_k": "Q6_K", "q5_k_m": "Q5_K", "q5_k_s": "Q5_K", "q5_1": "Q5_1", "q5_0": "Q5_0",
    "q4_k_m": "Q4_K", "q4_k_s": "Q4_K", "q4_1": "Q4_1", "q4_0": "Q4_0", "iq4_nl": "IQ4_NL", "iq4_xs": "IQ4_XS",
    "q3_k_l": "Q3_K", "q3_k_m": "Q3_K", "q3_k_s": "Q3_K", "iq3_m": "IQ3_S", "iq3_s": "IQ3_S", "iq3_xs": "IQ3_S",
    "iq3_xxs": "IQ3_XXS", "q2_k": "Q2_K", "q2_k_s": "Q2_K", "iq2_m": "IQ2_S", "iq2_s": "IQ2_XS", "iq2_xs": "IQ2_XS",
    "iq2_xxs": "IQ2_XXS", "iq1_m": "IQ1_M", "iq1_s": "IQ1_S", "tq2_0": "TQ2_0", "tq1_0": "TQ1_0", "mxfp4": "MXFP4",
}  # fmt: skip
"""Mix -> the type that a matrix has when no rule says otherwise."""

FALLBACK = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
"""For rows that are no multiple of 256."""

_LOW_IQ = frozenset({"iq2_xxs", "iq2_xs", "iq1_s", "iq2_s", "iq2_m", "iq1_m"})
_KEPT = ("_norm.weight", "ffn_gate_inp", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d", "shortconv.conv")
_PLAIN = frozenset({"f32", "f16", "bf16"})


def known_mix(mix: str) -> str:
    """The mix in lower case. Raises UnknownName with the nearest names."""
    if mix.lower() not in MIXES:
        raise UnknownName("GGUF quantisation", mix, MIXES, next=f"known: {', '.join(MIXES)}")
    return mix.lower()


@per_model
def gguf_types(model: Model, mix: str) -> dict[str, str]:
    """Tensor name -> GGUF type. A model that was read from a GGUF file has its own, whatever the mix is called."""
    if model.tensor_types:
        return dict(model.tensor_types)
    result: dict[str, str] = {}
    for group, types in zip(alike(model), types_alike(model, mix), strict=True):
        result.update((tensor.name, type) for tensor, type in group.typed(types))
    return result


class Alike(NamedTuple):
    """Tensors that differ in their layer only."""

    kind: "_Kind"
    tensors: tuple[Tensor, ...]
    everywhere: bool
    """one in each layer"""

    def typed(self, types: str | tuple[str, ...]) -> Iterator[tuple[Tensor, str]]:
        """Each tensor with its type; types: that of all, or one for each."""
        return zip(self.tensors, repeat(types) if isinstance(types, str) else types, strict=False)


@per_model
def alike(model: Model) -> tuple[Alike, ...]:
    """The tensors of a model in a few dozen groups, the same for all mixes."""
    found: dict[tuple[str, tuple[int, ...], str], list[Tensor]] = {}
    for tensor in tensors(model):
        found.setdefault((_tail(tensor.name), tensor.shape, tensor.role), []).append(tensor)
    layers = list(range(model.layers))
    return tuple(
        Alike(
            _kind(tail),
            tuple(group),
            len(group) == model.layers and [tensor.layer for tensor in group] == layers,
        )
        for (tail, _, _), group in found.items()
    )


@per_model
def types_alike(model: Model, mix: str) -> tuple[str | tuple[str, ...], ...]:
    """For each group of `alike` the GGUF type that all of it has, or one for each of its tensors."""
    groups = alike(model)
    if model.tensor_types:
        own = model.tensor_types
        return tuple(tuple([own[tensor.name] for tensor in group.tensors]) for group in groups)
    mix = known_mix(mix)
    tied = not any(group.tensors[0].name == "output.weight" for group in groups)
    result: list[Any] = []
    in_turn: list[tuple[int, int, Tensor, _Kind]] = []
    for place, group in enumerate(groups):
        # Only values and down projections (and iq3_xs) get other types in other layers: the rest is decided once.
        if mix in _VARIED and (group.kind.category in _BY_LAYER or mix == "iq3_xs"):
            result.append([""] * len(group.tensors))
            in_turn += [(place, at, tensor, group.kind) for at, tensor in enumerate(group.tensors)]
        else:
            result.append(_type(model, group.tensors[0], group.kind, mix, tied, {"v": 1, "v_seen": 0}))
    counts = {"v": sum(kind.category in _VALUES for *_, kind in in_turn), "v_seen": 0}
    for place, at, tensor, kind in sorted(in_turn, key=lambda each: each[2].layer or 0):
        result[place][at] = _type(model, tensor, kind, mix, tied, counts)
    return tuple(types if isinstance(types, str) else _one_of(tuple(types)) for types in result)


def _one_of(types: tuple[str, ...]) -> str | tuple[str, ...]:
    return types[0] if len(set(types)) == 1 else types


@per_model
def mix_of(model: Model) -> str:
    """The mix that a model read from a GGUF file was quantised to, by its tensors' types: what people call the file.

    Of the mixes that are built on a type which holds much of it, the one with which most tensors agree. A mix that is nobody's
    (other tools choose types layer by layer) gets the name of the one it is closest to.
    """
    held: dict[str, float] = {}
    for kind, group, *_ in alike(model):
        if not kind.plain and kind.category not in ("output", "embedding"):
            for tensor in group:
                type = model.tensor_types[tensor.name].upper()
                held[type] = held.get(type, 0.0) + tensor.elements
    if not held:
        return "f16"
    # iq3_xs has more of another type than of the one it is built on, so each that holds much may be it.
    much = {type for type, size in held.items() if size >= 0.2 * max(held.values())} & set(MIXES.values())
    if not much:
        most = max(held, key=lambda type: held[type])
        wanted = bits(most) if most in GGUF_BLOCKS else 16.0
        much = {min(MIXES.values(), key=lambda type: abs(bits(type) - wanted))}
    plain = msgspec.structs.replace(model, tensor_types={})

    def agreeing(mix: str) -> int:
        return sum(model.tensor_types[name].upper() == type for name, type in gguf_types(plain, mix).items())

    return max((mix for mix, type in MIXES.items() if type in much), key=agreeing)


_VALUES = frozenset({"v", "qkv", "kv_b"})
_BY_LAYER = _VALUES | {"down"}
_VARIED = _LOW_IQ | {"q5_k_m", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k_s", "iq3_m", "iq3_xs"}
"""mixes in which the layer decides, too"""


class _Kind(NamedTuple):
    """What the rules ask of a tensor's name."""

    category: str
    plain: bool
    """fp32 whatever the mix: positions, routers, convolutions, and what is no weight"""


def _tail(name: str) -> str:
    """The name without its layer: ffn_down.weight. A model has a dozen of them."""
    return name[name.find(".", 4) + 1 :] if name.startswith("blk.") else name


@cache
def _kind(tail: str) -> _Kind:
    kept = any(part in tail for part in _KEPT) or tail == "position_embd.weight"
    return _Kind(_category(tail), kept or not tail.endswith("weight"))


def _category(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "embedding"
    for part, category in (
        ("attn_qkv.weight", "qkv"),
        ("attn_kv_b.weight", "kv_b"),
        ("attn_v.weight", "v"),
        ("attn_k.weight", "k"),
        ("attn_q.weight", "q"),
        ("attn_output.weight", "o"),
        ("ffn_up", "up"),
        ("ffn_gate", "gate"),
        ("ffn_down", "down"),
    ):
        if part in name:
            return category
    return "other"


def _type(model: Model, tensor: Tensor, kind: _Kind, mix: str, tied: bool, counts: dict[str, int]) -> str:
    default = MIXES[mix]
    # One-dimensional tensors, positions, routers and convolutions are written in fp32 by the converter.
    if len(tensor.shape) < 2 or kind.plain:
        return "F32"
    if mix in _PLAIN:
        return default
    chosen = _choose(model, tensor, kind.category, mix, default, tied, counts)
    if tensor.shape[0] % GGUF_BLOCKS[chosen][0]:
        chosen = FALLBACK.get(chosen, "F16")
        if tensor.shape[0] % GGUF_BLOCKS[chosen][0]:
            chosen = "F16"
    return chosen


def _choose(
    model: Model, tensor: Tensor, category: str, mix: str, default: str, tied: bool, counts: dict[str, int]
) -> str:
    if category in _VALUES:
        index, counts["v_seen"] = counts["v_seen"], counts["v_seen"] + 1
    if category == "output" or (tied and category == "embedding"):
        if mix == "mxfp4" or model.family == "falcon" or tensor.shape[0] % GGUF_BLOCKS[default][0]:
            return "Q8_0"
        if mix in _LOW_IQ or mix == "iq3_xxs":
            return "Q5_K"
        return default if default == "Q8_0" else "Q6_K"
    if mix == "mxfp4":
        return "MXFP4" if len(tensor.shape) > 2 else "Q8_0"
    if category == "embedding":
        return _embedding(mix, default)
    gqa4 = model.heads >= 4 * max(model.kv_heads, 1)
    eight = model.experts is not None and model.experts.count == 8
    layer = tensor.layer or 0
    if mix in _LOW_IQ:
        return _low_iq(mix, default, category, layer, model, gqa4, eight)
    if category in _VALUES:
        return _values(mix, default, category, index, counts["v"], model, gqa4, eight)
    if category in ("k", "q"):
        if category == "k" and eight:
            return "Q8_0"
        return {"iq3_xs": "IQ3_XXS", "iq3_xxs": "IQ2_S"}.get(mix, default)
    if category == "down":
        return _down(mix, default, layer, model.layers, model.family == "falcon", eight)
    if category == "o":
        return _attention_output(mix, default, model.family == "falcon", eight)
    if category in ("gate", "up") and mix == "iq3_xs" and model.layers // 8 <= layer < 7 * model.layers // 8:
        return "IQ3_XXS"
    return default


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _embedding(mix: str, default: str) -> str:
    if mix in ("iq2_xxs", "iq2_xs", "iq1_s", "iq1_m"):
        return "Q2_K"
    if mix in ("iq2_s", "iq2_m", "iq3_xxs"):
        return "IQ3_S"
    return "Q4_K" if mix in ("tq1_0", "tq2_0") else default


def _low_iq(mix: str, default: str, category: str, layer: int, model: Model, gqa4: bool, eight: bool) -> str:
    better = "IQ3_S" if mix in ("iq2_s", "iq2_m") else "Q2_K"
    if category in ("v", "qkv", "kv_b"):
        return "Q4_K" if gqa4 or (model.experts is not None and model.experts.count >= 4) else better
    if category == "k" and eight:
        return "Q4_K"
    if category == "down":
        return better if layer < model.layers // 8 else default
    if category == "o":
        if eight:
            return "Q5_K"
        return {"iq1_s": "IQ2_XXS", "iq1_m": "IQ2_XXS", "iq2_s": "IQ3_S", "iq2_m": "IQ3_S"}.get(mix, default)
    return default


def _values(
    mix: str, default: str, category: str, index: int, count: int, model: Model, gqa4: bool, eight: bool
) -> str:
    chosen = default
    if mix == "q2_k":
        chosen = "Q4_K" if gqa4 else "Q3_K"
    elif mix == "q2_k_s" and gqa4:
        chosen = "Q4_K"
    elif mix == "iq3_xxs":
        chosen = "Q4_K" if gqa4 else "IQ3_XXS"
    elif (mix in ("iq3_xs", "iq3_s") and gqa4) or mix == "iq3_m":
        chosen = "Q4_K"
    elif mix == "q3_k_m":
        chosen = "Q5_K" if index < 2 else "Q4_K"
    elif mix == "q3_k_l" or (mix in ("iq4_nl", "iq4_xs") and gqa4):
        chosen = "Q5_K"
    elif mix in ("q4_k_m", "q5_k_m") and _more_bits(index, count):
        chosen = "Q6_K"
    elif mix == "q4_k_s" and index < 4:
        chosen = "Q5_K"
    # llama.cpp's name for every model of 80 layers with grouped queries; its values are narrow, so more bits are cheap.
    if model.layers == 80 and model.kv_heads < model.heads and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"
    return "Q8_0" if eight else chosen


def _down(mix: str, default: str, layer: int, layers: int, falcon: bool, eight: bool) -> str:
    more, first = _more_bits(layer, layers), layer < layers // 8
    if mix == "q2_k":
        return "Q3_K"
    if mix == "q2_k_s":
        return "Q4_K" if first else default
    if mix == "q3_k_m":
        return "Q5_K" if layer < layers // 16 else "Q4_K" if not falcon or more else "Q3_K"
    if mix == "iq3_m":
        return "Q4_K" if first or (eight and more) else default
    if mix == "q3_k_l":
        return "Q4_K" if falcon else "Q5_K"
    if mix == "q4_k_m":
        if falcon:
            return "Q6_K" if layer < layers // 16 else "Q5_K" if more else "Q4_K"
        return "Q6_K" if more else default
    if mix == "q5_k_m":
        return "Q6_K" if more else default
    if mix == "q4_k_s":
        return "Q5_K" if first and not falcon else default
    return default


def _attention_output(mix: str, default: str, falcon: bool, eight: bool) -> str:
    if falcon:
        return "Q4_K" if mix == "q3_k_l" else default
    if eight:
        keeps = (
            "q3_k_l",
            "q5_k_m",
            "q5_k_s",
            "q6_k",
            "q8_0",
            "q4_0",
            "q4_1",
            "q5_0",
            "q5_1",
            "q2_k_s",
            "tq1_0",
            "tq2_0",
        )
        return default if mix in keeps else "Q5_K"
    return {"q2_k": "Q3_K", "iq3_xxs": "IQ3_S", "q3_k_m": "Q4_K", "q3_k_l": "Q5_K", "iq3_m": "Q4_K"}.get(mix, default)
