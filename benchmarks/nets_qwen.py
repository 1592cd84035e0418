"""LoRA finetuning of Qwen (2023): finetune.py on PyTorch 2.0 with flash attention, PEFT 0.5 and the Trainer.

A small net of that code's shape: bf16 weights under bf16 autocast, fp32 adapters of rank 64 on all four projections,
reentrant checkpoints, foreach AdamW. Base models also train copies of embedding and head. Sources: modeling_qwen.py of
Qwen/Qwen-7B on the hub, finetune.py of github.com/QwenLM/Qwen at 03cd81f, peft 0.5 tuners/lora.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

RANK = 64
SHAPES = {
    "Qwen-1.8B": (24, 2048, 16, 5504, 151_936),
    "Qwen-7B": (32, 4096, 32, 11_008, 151_936),
    "Qwen-14B": (40, 5120, 40, 13_696, 152_064),
}
"""layers, width, heads, inner width, vocabulary"""


class Lora(nn.Module):
    """A frozen bf16 projection and its fp32 adapter."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=bias, dtype=torch.bfloat16).requires_grad_(False)
        self.a, self.b = nn.Linear(inputs, RANK, bias=False), nn.Linear(RANK, outputs, bias=False)
        self.dropout = nn.Dropout(0.05)

    def forward(self, x: Tensor) -> Tensor:
        result = self.base(x)
        before = result.dtype
        x = x.to(self.a.weight.dtype)
        result = result + self.b(self.a(self.dropout(x))) * 0.25
        return result.to(before)


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=torch.bfloat16), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return normed.type_as(x) * self.weight


class Rotary(torch.autograd.Function):
    """A stand-in for the fused kernel of flash-attn (flash_attn/layers/rotary.py, from 2.1 on part of the package): it reads
    its input once, writes its output once, and keeps cos and sin alone for the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor) -> Tensor:
        ctx.save_for_backward(cos)
        return x * cos

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (cos,) = ctx.saved_tensors
        return gradient * cos, None


def rotate(x: Tensor, cos: Tensor) -> Tensor:
    """modeling_qwen.py, apply_rotary_pos_emb where flash-attn is installed: the kernel runs on an fp32 copy."""
    return Rotary.apply(x.float(), cos).type_as(x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = Norm(width), Norm(width)
        self.c_attn, self.attn_proj = Lora(width, 3 * width, bias=True), Lora(width, width)
        self.w1, self.w2, self.c_proj = Lora(width, inner), Lora(width, inner), Lora(inner, width)

    def forward(self, x: Tensor, cos: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (t.view(batch, tokens, self.heads, -1) for t in self.c_attn(self.ln_1(x)).split(width, dim=2))
        q, k = rotate(q, cos), rotate(k, cos)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        x = self.attn_proj(y.transpose(1, 2).reshape(batch, tokens, width)) + x
        h = self.ln_2(x)
        return x + self.c_proj(self.w1(h) * F.silu(self.w2(h)))


def build(model: str, tokens: int, ends: bool = False) -> Callable[[], Tensor]:
    """One micro-batch of one sequence, and an update."""
    layers, width, heads, inner, vocabulary = SHAPES[model]
    with torch.device("cuda"):
        embedding = nn.Embedding(vocabulary, width, dtype=torch.bfloat16).requires_grad_(False)
        blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers)).train()
        norm = Norm(width)
        head = nn.Linear(width, vocabulary, bias=False, dtype=torch.bfloat16).requires_grad_(False)
        kept = [embedding, head]  # the originals stay beside their trained copies
        if ends:
            embedding = nn.Embedding(vocabulary, width, dtype=torch.bfloat16)
            head = nn.Linear(width, vocabulary, bias=False, dtype=torch.bfloat16)
        cos = torch.zeros(1, tokens, 1, width // heads)
        ids = torch.zeros(1, tokens, dtype=torch.long)
    trained = [p for m in (embedding, blocks, head) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)

    def step() -> Tensor:
        assert kept
        with torch.autocast("cuda", dtype=torch.bfloat16):
            x = embedding(ids)
            if not ends:
                x.requires_grad_()
            for block in blocks:
                x = checkpoint(block, x, cos, use_reentrant=True)
            logits = head(norm(x))
            shifted = logits[..., :-1, :].contiguous()
            loss = F.cross_entropy(shifted.view(-1, shifted.size(-1)), ids[..., 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step
