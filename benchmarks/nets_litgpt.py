"""The finetuning programs of Lit-GPT at the end of 2023, as steps that can be traced.

What installed libraries do today is not what was measured then (torch 2.1, bitsandbytes 0.41), so this is a small net of
that code's shape: the same operators in the same order, hence the same allocations. What matters of it:

- rotary tables are fp32 while weights are bf16, so both roped halves exist in fp32 for a moment;
- LoRA of the joint q/k/v projection goes through a grouped convolution and a zero-padded copy of full width;
- 4-bit layers keep their input for the backward pass as an attribute of the node, which frees it only with the graph;
- logits come in chunks of 128 tokens and are turned into fp32 as they leave the model (Fabric's "bf16-true").

Sources: github.com/Lightning-AI/lit-gpt at 96666c38 (2023-11) and at the state of 2024-01 (adapters with quantisation);
bitsandbytes 0.41.1, autograd/_functions.py, MatMul4Bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 128
"""tokens of one piece of logits"""
RANK, PROMPT, FIRST_ADAPTED = 8, 10, 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A row of Lit-GPT's config.py."""

    layers: int
    heads: int
    width: int
    inner: int
    vocabulary: int
    """padded"""
    rotary: float = 1.0
    groups: int | None = None
    parallel: bool = True
    shared_norm: bool = False
    bias: bool = True
    head_bias: bool = False
    llama: bool = False
    head: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", self.width // self.heads)
        object.__setattr__(self, "groups", self.groups or self.heads)


_LLAMA = {"parallel": False, "bias": False, "llama": True, "vocabulary": 32_000}
SHAPES = {
    "phi-1.5": Shape(
        layers=24, heads=32, width=2048, inner=8192, vocabulary=51_200, rotary=0.5, shared_norm=True, head_bias=True
    ),
    "StableLM Alpha 3B": Shape(layers=16, heads=32, width=4096, inner=16_384, vocabulary=50_688, rotary=0.25),
    "Llama-2-7B": Shape(layers=32, heads=32, width=4096, inner=11_008, **_LLAMA),
    "Llama-2-13B": Shape(layers=40, heads=40, width=5120, inner=13_824, **_LLAMA),
    "Falcon-40B": Shape(
        layers=60, heads=128, width=8192, inner=32_768, vocabulary=65_024, groups=8, bias=False
    ),
}  # fmt: skip


class Unpacked(torch.autograd.Function):
    """x @ W.T with W unpacked from 4 bits, in both directions. The input stays with the node, as it did then."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "Packed") -> Tensor:
        ctx.kept = (x, layer)
        return F.linear(x, layer.unpack(), layer.bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        _, layer = ctx.kept
        return torch.matmul(grad, layer.unpack()), None


class Packed(nn.Module):
    """A linear layer in nf4: two weights a byte, a scale for 64 of them (fp32, or 8 bits with scales of their own)."""

    def __init__(self, inputs: int, outputs: int, bias: bool, double: bool) -> None:
        super().__init__()
        self.inputs, self.outputs, self.double = inputs, outputs, double
        count = inputs * outputs
        self.register_buffer("codes", torch.empty(count // 2, 1, dtype=torch.uint8))
        self.register_buffer("scales", torch.empty(count // 64, dtype=torch.uint8 if double else torch.float32))
        self.register_buffer("scales2", torch.empty(count // 64 // 256, dtype=torch.float32) if double else None)
        self.register_buffer("table", torch.empty(16, dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def unpack(self) -> Tensor:
        scales = self.scales
        if self.double:
            scales = scales.float()
            scales += 0.1
        return torch.empty(self.outputs, self.inputs, dtype=torch.get_default_dtype(), device=self.codes.device)

    def forward(self, x: Tensor) -> Tensor:
        return Unpacked.apply(x, self)


class Method:
    """How a model is finetuned: "LoRA", "Adapter" or "Adapter v2", on plain or packed ("nf4", "nf4-dq") layers."""

    def __init__(self, name: str, packed: str = "") -> None:
        self.name, self.packed = name, packed

    def linear(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        if self.packed:
            plain: nn.Module = Packed(inputs, outputs, bias, self.packed == "nf4-dq")
        else:
            plain = nn.Linear(inputs, outputs, bias=bias)
        return Scaled(plain, outputs) if self.name == "Adapter v2" else plain


class Scaled(nn.Module):
    """Adapter v2: scale * (linear(x) + bias), both trained."""

    def __init__(self, linear: nn.Module, outputs: int) -> None:
        super().__init__()
        self.linear = linear
        self.adapter_bias = nn.Parameter(torch.zeros(outputs))
        self.adapter_scale = nn.Parameter(torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter_scale * (self.linear(x) + self.adapter_bias)


class LoraQkv(nn.Module):
    """LoRA on the queries and values of a joint projection."""

    def __init__(self, shape: Shape, method: Method, outputs: int) -> None:
        super().__init__()
        self.linear = method.linear(shape.width, outputs, shape.bias)
        self.outputs, self.plain = outputs, shape.heads == shape.groups
        kv = shape.width // (shape.heads // shape.groups)
        self.parts = [shape.width, kv]
        self.lora_a = nn.Parameter(torch.zeros(2 * RANK, shape.width))
        self.lora_b = nn.Parameter(torch.zeros(shape.width + kv, RANK))
        self.columns = [*range(shape.width), *range(shape.width + kv, outputs)]
        self.dropout = nn.Dropout(0.05)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.plain:
            return F.conv1d(x, weight, groups=2)
        pairs = zip(x.chunk(2, dim=1), weight.split(self.parts), strict=True)
        return torch.cat([F.conv1d(a, b) for a, b in pairs], dim=1)

    def pad(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        result = x.new_zeros((*x.shape[:-1], self.outputs)).view(-1, self.outputs)
        columns = torch.tensor(self.columns, device=result.device)
        result = result.index_copy(1, columns, x.reshape(-1, len(self.columns)))
        return result.view((*x.shape[:-1], self.outputs)).transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        pretrained = self.linear(x)
        after_a = F.linear(self.dropout(x), self.lora_a)
        after_b = self.convolve(after_a.transpose(-2, -1), self.lora_b.unsqueeze(-1)).transpose(-2, -1)
        lora = self.pad(after_b) * 2.0
        return pretrained + lora


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.size(-1) // 2
    x1 = x[..., :half]
    x2 = x[..., half:]
    rotated = torch.cat((-x2, x1), dim=-1)
    roped = (x * cos) + (rotated * sin)
    return roped.type_as(x)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype
        x = x.float()
        norm = torch.mean(x * x, dim=-1, keepdim=True)
        normed = x * torch.rsqrt(norm + 1e-5)
        return (self.weight * normed).to(dtype=dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape, method: Method, layer: int) -> None:
        super().__init__()
        self.shape = shape
        outputs = (shape.heads + 2 * shape.groups) * shape.head
        lora = method.name == "LoRA"
        self.attn = LoraQkv(shape, method, outputs) if lora else method.linear(shape.width, outputs, shape.bias)
        self.proj = method.linear(shape.width, shape.width, shape.bias)
        self.adapted = not lora and layer >= FIRST_ADAPTED
        if self.adapted:
            self.adapter_wte = nn.Embedding(PROMPT, shape.width)
            self.adapter_gate = nn.Parameter(torch.zeros(1, 1, shape.heads, 1))

    def split(self, qkv: Tensor, batch: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shape
        share = shape.heads // shape.groups
        qkv = qkv.view(batch, tokens, shape.groups, share + 2, shape.head).permute(0, 2, 3, 1, 4)
        q, k, v = qkv.split((share, 1, 1), dim=2)
        if shape.groups != shape.heads:
            k = k.expand(batch, shape.groups, share, tokens, shape.head)
            v = v.expand(batch, shape.groups, share, tokens, shape.head)
        return tuple(t.reshape(batch, -1, tokens, shape.head) for t in (q, k, v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return y.transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, width = x.size()
        qkv = self.attn(x)
        q, k, v = self.split(qkv, batch, tokens)
        n = cos.shape[-1]
        q_roped = rope(q[..., :n], cos, sin)
        k_roped = rope(k[..., :n], cos, sin)
        q = torch.cat((q_roped, q[..., n:]), dim=-1)
        k = torch.cat((k_roped, k[..., n:]), dim=-1)
        y = self.attend(q, k, v, None)
        if self.adapted:
            prefix = self.adapter_wte.weight.reshape(1, PROMPT, width)
            _, ak, av = self.split(self.attn(prefix), 1, PROMPT)
            mask = torch.ones(tokens, PROMPT, dtype=torch.bool, device=q.device)
            ak, av = (t.expand(batch, -1, -1, -1) for t in (ak, av))
            y = y + self.adapter_gate * self.attend(q, ak, av, mask)
        y = y.reshape(batch, tokens, width)
        return self.proj(y)


class Mlp(nn.Module):
    def __init__(self, shape: Shape, method: Method) -> None:
        super().__init__()
        self.llama = shape.llama
        self.fc = method.linear(shape.width, shape.inner, shape.bias)
        self.fc_2 = method.linear(shape.width, shape.inner, shape.bias) if shape.llama else None
        self.proj = method.linear(shape.inner, shape.width, shape.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.fc_2 is None:
            x = self.fc(x)
            x = F.gelu(x)
            return self.proj(x)
        first = self.fc(x)
        second = self.fc_2(x)
        x = F.silu(first) * second
        return self.proj(x)


class Block(nn.Module):
    def __init__(self, shape: Shape, method: Method, layer: int) -> None:
        super().__init__()
        norm = RMSNorm if shape.llama else nn.LayerNorm
        self.parallel = shape.parallel
        self.norm_1 = norm(shape.width)
        self.norm_2 = None if shape.shared_norm else norm(shape.width)
        self.attn = Attention(shape, method, layer)
        self.mlp = Mlp(shape, method)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n_1 = self.norm_1(x)
        h = self.attn(n_1, cos, sin)
        if self.parallel:
            n_2 = n_1 if self.norm_2 is None else self.norm_2(x)
            return self.mlp(n_2) + h + x
        x = h + x
        return self.mlp(self.norm_2(x)) + x


class GPT(nn.Module):
    def __init__(self, shape: Shape, method: Method) -> None:
        super().__init__()
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.h = nn.ModuleList(Block(shape, method, n) for n in range(shape.layers))
        self.ln_f = (RMSNorm if shape.llama else nn.LayerNorm)(shape.width)
        self.lm_head = method.linear(shape.width, shape.vocabulary, shape.head_bias)

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> list[Tensor]:
        x = self.wte(tokens)
        for block in self.h:
            x = block(x, cos, sin)
        x = self.ln_f(x)
        return [self.lm_head(piece) for piece in x.split(CHUNK, dim=1)]


TRAINED = {
    "LoRA": ("lora_",),
    "Adapter": ("adapter_",),
    "Adapter v2": ("adapter_", "norm_1", "norm_2", "ln_f"),
}


def build(
    model: str, method: str = "LoRA", packed: str = "", batch: int = 1, tokens: int = 1024, layers: int | None = None
) -> Callable[[], Tensor]:
    """The first micro-batch, which holds the longest sample: forward, chunked loss, backward (gradients accumulate)."""
    shape = SHAPES[model]
    if layers is not None:
        shape = Shape(**{f: getattr(shape, f) for f in shape.__dataclass_fields__ if f != "head"} | {"layers": layers})
    way = Method(method, packed)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            net = GPT(shape, way).train()
    finally:
        torch.set_default_dtype(torch.float32)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(any(part in name for part in TRAINED[method]))
    rotary = int(shape.rotary * shape.head)
    cos, sin = (torch.zeros(tokens, rotary, device="cuda") for _ in range(2))
    x = torch.zeros(batch, tokens, dtype=torch.long, device="cuda")
    y = torch.zeros(batch, tokens, dtype=torch.long, device="cuda")

    def step() -> Tensor:
        torch.set_default_dtype(torch.bfloat16)
        try:
            logits = net(x, cos, sin)
        finally:
            torch.set_default_dtype(torch.float32)
        logits = [piece.float() for piece in logits]
        logits[-1] = logits[-1][..., :-1, :]
        pieces = [piece.reshape(-1, piece.size(-1)) for piece in logits]
        targets = [t.reshape(-1) for t in y[..., 1:].split(pieces[0].size(0) // batch, dim=1)]
        losses = [
            F.cross_entropy(piece, target, ignore_index=-1, reduction="none")
            for piece, target in zip(pieces, targets, strict=True)
        ]
        loss = torch.cat(losses).mean()
        (loss / (128 // batch)).backward()
        return loss

    return step
