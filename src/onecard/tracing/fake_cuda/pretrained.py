"""from_pretrained without weights: shapes and dtypes follow from the configuration, and nothing else is needed.

Symptom without it: gigabytes are read from disk (or asked of the network) for values that nobody looks at, and loading
copies them onto tensors that have none.

A configuration with a quantisation by bitsandbytes gives its layers, as loading would: every linear layer but the output
head. Other quantisations are refused by the library in its own words.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from onecard.tracing.fake_cuda.patching import replaced


@contextlib.contextmanager
def without_weights(note: Callable[[str], None]) -> Iterator[None]:
    """Models of transformers and diffusers, where the program has imported them."""
    with contextlib.ExitStack() as stack:
        if "transformers" in sys.modules:
            from transformers import PreTrainedModel

            stack.enter_context(replaced(PreTrainedModel, from_pretrained=classmethod(_transformers(note))))
        if "diffusers" in sys.modules:
            from diffusers import ModelMixin

            stack.enter_context(replaced(ModelMixin, from_pretrained=classmethod(_diffusers(note))))
        yield


def _transformers(note: Callable[[str], None]) -> Callable[..., Any]:
    def from_pretrained(cls: Any, name: Any, *arguments: Any, config: Any = None, **options: Any) -> Any:
        note("from_pretrained made models from their configuration; no weights were read")
        where = {
            k: options[k] for k in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if k in options
        }
        if config is None:
            config = cls.config_class.from_pretrained(name, **where)
        implementation = options.get("attn_implementation")
        if implementation is not None:
            config._attn_implementation = implementation
        dtype = _dtype(options.get("dtype", options.get("torch_dtype")), getattr(config, "dtype", None))
        quantization = options.get("quantization_config")
        place = _place(options.get("device_map"))
        with _made(dtype, place if quantization is None else torch.device("cpu")):
            model = cls(config)
        if quantization is not None:
            # layer by layer onto the card, as loading does: never all wide weights at once
            quantize(model, quantization)
            model.to("cuda")
            model.config.quantization_config = quantization
        return model.eval()

    return from_pretrained


def _diffusers(note: Callable[[str], None]) -> Callable[..., Any]:
    def from_pretrained(cls: Any, name: Any, **options: Any) -> Any:
        note("from_pretrained made models from their configuration; no weights were read")
        where = {
            k: options[k] for k in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if k in options
        }
        config = cls.load_config(name, **where)
        with _made(_dtype(options.get("torch_dtype"), None), _place(options.get("device_map"))):
            return cls.from_config(config).eval()

    return from_pretrained


def quantize(model: nn.Module, wanted: Any) -> None:
    """Replaces linear layers as loading with a BitsAndBytesConfig does: all but the output head and what it skips."""
    import bitsandbytes as bnb

    skipped = list(getattr(wanted, "llm_int8_skip_modules", None) or ["lm_head"])
    for name, module in list(model.named_modules()):
        for child, layer in list(module.named_children()):
            path = f"{name}.{child}" if name else child
            if type(layer) is not nn.Linear or any(s in path for s in skipped):
                continue
            size: tuple[Any, ...] = (layer.in_features, layer.out_features, layer.bias is not None)
            place = layer.weight.device
            if getattr(wanted, "load_in_4bit", False):
                new = bnb.nn.Linear4bit(
                    *size,
                    wanted.bnb_4bit_compute_dtype,
                    wanted.bnb_4bit_use_double_quant,
                    wanted.bnb_4bit_quant_type,
                    device=place,
                )
            else:
                new = bnb.nn.Linear8bitLt(*size, has_fp16_weights=False, threshold=6.0, device=place)
            setattr(module, child, new.requires_grad_(False))
    model.is_loaded_in_4bit = bool(getattr(wanted, "load_in_4bit", False))
    model.is_loaded_in_8bit = bool(getattr(wanted, "load_in_8bit", False))
    model.is_quantized = True
    # trainers ask it whether such a model may be trained
    from transformers.quantizers import AutoHfQuantizer

    model.hf_quantizer = AutoHfQuantizer.from_config(wanted, pre_quantized=False)


def _dtype(asked: Any, stored: Any) -> torch.dtype:
    value = stored if asked in ("auto", None) else asked
    if isinstance(value, str):
        value = getattr(torch, value, None)
    return value if isinstance(value, torch.dtype) else torch.float32


def _place(device_map: Any) -> torch.device:
    """One card: whatever a map says, but for an explicit CPU, is on it."""
    if device_map is None or device_map == "cpu":
        return torch.device("cpu")
    return torch.device("cuda")


@contextlib.contextmanager
def _made(dtype: torch.dtype, place: torch.device) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with place:
            yield
    finally:
        torch.set_default_dtype(before)
