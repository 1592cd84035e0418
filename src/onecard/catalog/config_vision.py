"""The vision tower in a config.json: SigLIP (Gemma 3), Pixtral (Mistral 3) and the Qwen-VL towers.

Towers that take any resolution are given one picture as the unit: 1,008 pixels square, about a megapixel, for Qwen-VL,
and the largest side that Pixtral takes.
"""

from collections.abc import Mapping
from typing import Any

from onecard.catalog.config_fields import Fields
from onecard.core.model import Vision

_SIGLIP = {"num_hidden_layers": 27, "hidden_size": 1152, "num_attention_heads": 16, "intermediate_size": 4304,
           "image_size": 896, "patch_size": 14}  # fmt: skip
_PIXTRAL = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096,
            "image_size": 1540, "patch_size": 14}  # fmt: skip
_QWEN_2_5 = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14}
_QWEN_2 = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "patch_size": 14}


def vision(kind: str, config: Mapping[str, Any], hidden: int, where: str) -> Vision | None:
    """The tower of a model whose language half is `hidden` wide; None where there is none or its kind is not known."""
    values = config.get("vision_config")
    if not isinstance(values, dict):
        return None
    if kind == "gemma3":
        return _gemma3(Fields(values, _SIGLIP, f"{where} vision_config"), config, hidden)
    if kind == "mistral3":
        return _mistral3(Fields(values, _PIXTRAL, f"{where} vision_config"), config, hidden)
    if kind in ("qwen2_vl", "qwen2_5_vl"):
        return _qwen_vl(kind, values, hidden, where)
    return None


def _gemma3(f: Fields, config: Mapping[str, Any], hidden: int) -> Vision:
    width = f.need("hidden_size")
    tokens = config.get("mm_tokens_per_image")
    return Vision(
        layers=f.need("num_hidden_layers"), hidden=width, heads=f.need("num_attention_heads"),
        ffn=f.need("intermediate_size"), image=f.need("image_size"), patch=f.need("patch_size"),
        tokens=tokens if isinstance(tokens, int) else 256, projector=((hidden, width),),
    )  # fmt: skip


def _mistral3(f: Fields, config: Mapping[str, Any], hidden: int) -> Vision:
    width, image, patch = f.need("hidden_size"), f.need("image_size"), f.need("patch_size")
    merge = config.get("spatial_merge_size")
    merge = merge if isinstance(merge, int) and merge > 0 else 2
    # patch merger: merge^2 neighbouring patches become one; then two layers of the language model's width
    projector = ((width, width * merge * merge), (hidden, width), (hidden, hidden))
    return Vision(
        layers=f.need("num_hidden_layers"), hidden=width, heads=f.need("num_attention_heads"),
        ffn=f.need("intermediate_size"), image=image, patch=patch, tokens=(image // patch // merge) ** 2,
        gated=True, projector=projector,
    )  # fmt: skip


def _qwen_vl(kind: str, values: Mapping[str, Any], hidden: int, where: str) -> Vision:
    old = kind == "qwen2_vl"
    f = Fields(values, _QWEN_2 if old else _QWEN_2_5, f"{where} vision_config")
    width = f.need("embed_dim") if old else f.need("hidden_size")
    ratio = f.get("mlp_ratio") or 4
    merge = f.integer("spatial_merge_size") or 2
    patch, image = f.need("patch_size"), 1008
    merged = width * merge * merge
    return Vision(
        layers=f.need("depth"), hidden=width, heads=f.need("num_heads"),
        ffn=int(width * ratio) if old else f.need("intermediate_size"), image=image, patch=patch,
        tokens=(image // (patch * merge)) ** 2, gated=not old, projector=((merged, merged), (hidden, merged)),
    )  # fmt: skip
