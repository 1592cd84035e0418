"""A transformers model with random weights, made directly in its target format, one tensor at a time.

The network is built without memory (meta device); then each weight is made where it will stay. For int8 and nf4 only one
layer's full-precision matrix exists at any time, so that a card which holds the quantised model is enough.
"""

from collections.abc import Iterator
from typing import Any

from onecard.core.errors import BadSetting
from onecard.core.require import require
from onecard.engines import heap

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "f16": "float16", "fp32": "float32", "f32": "float32"}
QUANTISED = ("int8", "nf4")

_POOL = 1 << 20
"""random numbers that all tensors are tiled from: values change neither speed nor memory"""


def compute_dtype(quant: str, device: str) -> Any:
    """The type that activations have. Raises BadSetting for a format that transformers is not run in."""
    import torch

    if quant in DTYPES:
        return getattr(torch, DTYPES[quant])
    if quant in QUANTISED:
        # LLM.int8 multiplies fp16 (arXiv 2208.07339); the CPU has no fast fp16
        half = device != "cpu" and (quant == "int8" or not torch.cuda.is_bf16_supported())
        return torch.float16 if half else torch.bfloat16
    raise BadSetting(
        f'quant = "{quant}" will not do with transformers',
        why=f"it is run with {', '.join([*DTYPES, *QUANTISED])}",
        next="onecard plan chat --engine transformers --quant nf4",
    )


def empty_model(config: Any, dtype: Any, attention: str) -> Any:
    """The network with its weights on the meta device (no memory) and its buffers real."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    names = {"sdpa": "sdpa", "eager": "eager", "flash": "flash_attention_2"}
    with init_empty_weights(include_buffers=False):
        try:
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=names[attention])
        except ValueError:
            if attention == "eager":
                raise
            # Gemma 2 (soft caps) and gpt-oss (sinks) have no fused attention: what was used is told as effective
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")


def fill(model: Any, quant: str, dtype: Any, device: str) -> Iterator[tuple[int, int]]:
    """Give every weight its random values on the device; yields (done, all) parameters as it goes."""
    import torch

    pool = torch.empty(_POOL, dtype=torch.float32).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(1))
    pool = pool.to(device=device, dtype=dtype)
    total = sum(p.numel() for p in model.parameters())
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    head = model.get_output_embeddings()
    done = 0
    with heap.apart(quant in QUANTISED):
        for name, module in list(model.named_modules()):
            if tied and module is head:
                continue
            if quant in QUANTISED and isinstance(module, torch.nn.Linear) and module is not head:
                weight = _random(tuple(module.weight.shape), dtype, device, pool)
                done += weight.numel()
                _put(model, name, _quantised(module, weight, quant, dtype, device))
                del weight
                yield done, total
                continue
            for key, parameter in list(module.named_parameters(recurse=False)):
                ones = parameter.ndim == 1 and key == "weight"  # norms are ones in a fresh model
                shape = tuple(parameter.shape)
                value = torch.ones(shape, dtype=dtype, device=device) if ones else _random(shape, dtype, device, pool)
                module.register_parameter(key, torch.nn.Parameter(value, requires_grad=False))
                done += value.numel()
                yield done, total
    for _, module in model.named_modules():
        for key, buffer in list(module.named_buffers(recurse=False)):
            module._buffers[key] = buffer.to(device)
    if tied:
        model.tie_weights()
    model.eval()
    heap.give_back()


def _random(shape: tuple[int, ...], dtype: Any, device: str, pool: Any) -> Any:
    import torch

    value = torch.empty(shape, dtype=dtype, device=device)
    flat = value.view(-1)
    for start in range(0, flat.numel(), _POOL):
        piece = flat[start : start + _POOL]
        piece.copy_(pool[: piece.numel()])
    return value


def _put(model: Any, name: str, module: Any) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _quantised(old: Any, weight: Any, quant: str, dtype: Any, device: str) -> Any:
    """A bitsandbytes layer around one random matrix; the matrix is freed as soon as it is quantised."""
    import torch

    bnb = require("bitsandbytes", "to run int8 and nf4", "llm")
    shape = (old.in_features, old.out_features)
    with torch.device("meta"):
        if quant == "nf4":
            new = bnb.nn.Linear4bit(*shape, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
        else:
            new = bnb.nn.Linear8bitLt(*shape, bias=False, has_fp16_weights=False, threshold=6.0)
    if quant == "nf4":
        new.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=new
        ).to(device)
    else:
        # bitsandbytes quantises a matrix when it comes from the host
        new.weight = bnb.nn.Int8Params(weight.to("cpu", torch.float16), requires_grad=False, has_fp16_weights=False).to(
            device
        )
    if old.bias is not None:
        new.bias = torch.nn.Parameter(torch.zeros(old.out_features, dtype=dtype, device=device), requires_grad=False)
    return new
