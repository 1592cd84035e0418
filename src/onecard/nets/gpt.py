"""A GPT in one file: the Llama layout at nanoGPT size, readable from top to bottom.

Tokens become vectors; each block lets every position look at the earlier ones (attention) and then think on its own (a
gated feed-forward); both add to a residual stream that is never normalised itself. Positions are told by rotating
queries and keys (RoPE, arXiv 2104.09864), so there is no position table; norms are RMS norms (arXiv 1910.07467)
without weights; the feed-forward is SwiGLU (arXiv 2002.05202); the head is the embedding table, transposed.

Weights are fp32, the stream between them has the type `dtype`: bf16 halves memory and traffic and feeds the matrix units.
That is what autocast does, but in the open: each `Linear` takes its weight in the type of its input, nothing else changes.

The names and the order of the weights are those of `LlamaForCausalLM`, so that what was trained here is opened
by every tool that knows Llama, without a conversion of a single number.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Widths in numbers of elements. `width` is heads x head_dim; `ffn` is the inner width of the feed-forward."""

    vocab: int
    context: int
    depth: int
    width: int
    heads: int
    ffn: int
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def rotation(context: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin of position x frequency, both (context, head_dim), fp32; the second half repeats the first."""
    frequency = 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + head_dim/2) of x (batch, heads, tokens, head_dim) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Linear(nn.Linear):
    """A matrix without bias that computes in the type of its input, (..., in) -> (..., out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class Norm(nn.Module):
    """x / root mean square of x, over the last dimension."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.width, self.epsilon = shape.width, shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (self.width,), eps=self.epsilon)


class Attention(nn.Module):
    """Causal self-attention, (batch, tokens, width) -> (batch, tokens, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = Linear(shape.width, shape.width)
        self.k_proj = Linear(shape.width, shape.width)
        self.v_proj = Linear(shape.width, shape.width)
        self.o_proj = Linear(shape.width, shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            projection(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        out: Tensor = self.o_proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        return out


class FeedForward(nn.Module):
    """SwiGLU: one half decides how much of the other half passes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.ffn)
        self.up_proj = Linear(shape.width, shape.ffn)
        self.down_proj = Linear(shape.ffn, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each on a normalised view of the stream and added to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class GPT(nn.Module):
    """The whole net. `checkpointing` keeps only each block's input and computes the rest again in the backward pass."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, *, dtype: torch.dtype = torch.float32, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.dtype = dtype
        self.checkpointing = checkpointing
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = Norm(shape)
        cos, sin = rotation(shape.context, shape.head_dim, shape.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._fill)

    def _fill(self, module: nn.Module) -> None:
        """Normal weights of 0.02; what writes into the stream is smaller by sqrt(2 x depth), so that the sum of all
        2 x depth additions starts at the scale of one (GPT-2 paper, section 2.3)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Attention):
            nn.init.normal_(module.o_proj.weight, std=0.02 / sqrt(2 * self.shape.depth))
        if isinstance(module, FeedForward):
            nn.init.normal_(module.down_proj.weight, std=0.02 / sqrt(2 * self.shape.depth))

    def stream(self, tokens: Tensor) -> Tensor:
        """Token numbers (batch, tokens) -> the normalised residual stream (batch, tokens, width)."""
        count = tokens.shape[1]
        # An fp32 cosine would turn q and k into fp32, and all that follows with them.
        cos, sin = self.cos[:count].to(self.dtype), self.sin[:count].to(self.dtype)
        x = self.embed_tokens(tokens).to(self.dtype)
        for block in self.layers:
            again = self.checkpointing and self.training
            x = checkpoint(block, x, cos, sin, use_reentrant=False) if again else block(x, cos, sin)
        out: Tensor = self.norm(x)
        return out

    def logits(self, stream: Tensor) -> Tensor:
        """(..., width) -> (..., vocab), through the transposed embedding table."""
        return F.linear(stream, self.embed_tokens.weight.to(stream.dtype))

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats over all positions; tokens and targets are (batch, tokens)."""
        logits = self.logits(self.stream(tokens))
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def generate(
        self, tokens: Tensor, count: int, *, temperature: float = 0.8, top: int = 50, generator: torch.Generator
    ) -> Tensor:
        """Append `count` sampled tokens to tokens (1, n), each from the `top` likeliest; the window slides at the end.

        The whole window is computed anew for every token: slower than a cache of keys and values, and all of it visible.
        """
        with torch.no_grad():
            for _ in range(count):
                last = self.stream(tokens[:, -self.shape.context :])[:, -1]
                logits = self.logits(last).float() / temperature
                best, where = logits.topk(min(top, logits.shape[-1]))
                # Sampled on the CPU, so that one seed gives one text on every device.
                pick = torch.multinomial(best.softmax(-1).cpu(), 1, generator=generator).to(where.device)
                tokens = torch.cat((tokens, where.gather(-1, pick)), dim=1)
        return tokens
