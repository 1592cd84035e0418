"""The transformer of recordings/, as a step that the tracer can run: its peaks were recorded on a real GPU.

Written from the sizes and the order of the recorded requests (and the parts of its source that are public, see
recordings/README.md). What the recording tells of the program:

- an RMSNorm from `norm(x)**2 / width`, its weight applied by an einsum (under autocast its two operands are cast);
- projections multiply weight by x, not x by weight (an einsum in that order, in PyTorch 2.6): the result lies transposed
  in memory, which is why the later reductions over the vocabulary and the width need scratch;
- RoPE writes even and odd elements into an empty copy; cosines and sines are gathered for each row of the batch;
- attention materialises a float, a bool and an inverted mask, its expansion to all heads, and the softmax step by step;
- the loss picks targets with an index made on the CPU; AdamW keeps m and v and makes its denominator out of place.

    python -m onecard trace benchmarks/recorded_transformer.py:build
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH, INNER, LAYERS, HEADS, VOCABULARY, BATCH = 2560, 10240, 32, 32, 10_000, 4
PARAMETERS = 3_406_809_600


class Linear(nn.Module):
    """(..., inputs) -> (..., outputs), without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled("cuda"):  # an einsum casts its operands in order, a bmm the last one first
            dtype = torch.get_autocast_dtype("cuda")
            weight, x = weight.to(dtype), x.to(dtype)
        rows = x.reshape(1, -1, x.shape[-1])
        out = torch.bmm(weight.unsqueeze(0), rows.transpose(1, 2))  # (1, outputs, rows)
        return out.transpose(1, 2).view(*x.shape[:-1], -1)


class Norm(nn.Module):
    """Root mean square norm with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        rms = torch.sqrt(torch.norm(x, dim=-1, keepdim=True) ** 2 / WIDTH + 1e-5)
        normed = x / rms
        result = torch.einsum("d,...d->...d", self.weight, normed)
        return result.to(x.dtype)


class Rope(nn.Module):
    """Rotary positions, with tables of its own."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.register_buffer("cosines", torch.empty(context, width // 2), persistent=False)
        self.register_buffer("sines", torch.empty(context, width // 2), persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        cos, sin = self.cosines[positions].unsqueeze(1), self.sines[positions].unsqueeze(1)
        out = torch.empty_like(x)
        out[..., ::2] = x[..., ::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., ::2] * sin + x[..., 1::2] * cos
        return out


def softmax(x: Tensor) -> Tensor:
    """Step by step: the largest value, the difference, its exponential, the sum, the quotient."""
    largest = torch.max(x, dim=-1, keepdim=True)[0]
    powers = torch.exp(x - largest)
    return powers / torch.sum(powers, dim=-1, keepdim=True)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """(batch, heads, tokens, width) each -> the same."""
    scores = torch.einsum("...qd,...kd->...qk", q, k)
    scores = scores / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(mask.logical_not(), -1e9)
    weights = softmax(scores)
    return torch.einsum("...qk,...kd->...qd", weights, v)


class Attention(nn.Module):
    """Causal attention of all heads, nothing fused."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (Linear(WIDTH, WIDTH) for _ in range(4))
        self.rope = Rope(WIDTH // HEADS, context)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q_flat, k_flat, v_flat = self.q(x), self.k(x), self.v(x)
        q, k, v = (t.reshape(batch, tokens, HEADS, -1).permute(0, 2, 1, 3) for t in (q_flat, k_flat, v_flat))
        positions = torch.arange(tokens, device=x.device).unsqueeze(0).expand(batch, -1)
        q = self.rope(q, positions)
        k = self.rope(k, positions)
        mask = torch.triu(torch.ones(tokens, tokens, device=x.device), diagonal=1).to(torch.bool)
        mask = ~mask
        mask = mask.unsqueeze(0).unsqueeze(0).expand(batch, HEADS, -1, -1)
        result = attend(q, k, v, mask)
        result = result.permute(0, 2, 1, 3).reshape(batch, tokens, WIDTH)
        return self.out(result)


class FeedForward(nn.Module):
    """SwiGLU with the sigmoid on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = Linear(WIDTH, INNER), Linear(WIDTH, INNER), Linear(INNER, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate(x), self.up(x)
        return self.down(gate * torch.sigmoid(gate) * up)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2, self.feed_forward = Norm(), Attention(context), Norm(), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        h = self.attention(h)
        x = x + h
        h = self.norm2(x)
        h = self.feed_forward(h)
        x = x + h
        return x


class Transformer(nn.Module):
    """(batch, tokens) -> (batch, tokens, vocabulary)."""

    def __init__(self, context: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(VOCABULARY, WIDTH))
        self.blocks = nn.ModuleList(Block(context) for _ in range(layers))
        self.norm = Norm()
        self.head = Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over all tokens of log(sum(exp)) less the target's logit."""
    logits, targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    largest = torch.max(logits, dim=-1, keepdim=True)[0]
    shifted = logits - largest
    total = torch.sum(torch.exp(shifted), dim=-1)
    picked = shifted[torch.arange(shifted.shape[0]), targets]
    losses = torch.log(total) - picked
    return losses.mean()


class AdamW:
    """The optimizer as the recording shows it: m and v appear at a parameter's first step, one denominator at a time."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.state: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            if p.grad is None:
                continue
            if p not in self.state:
                self.state[p] = (torch.zeros_like(p), torch.zeros_like(p))
            m, v = self.state[p]
            m.mul_(0.9).add_(p.grad, alpha=0.1)
            v.mul_(0.95).addcmul_(p.grad, p.grad, value=0.05)
            denominator = torch.sqrt(v) + 1e-8
            p.addcdiv_(m, denominator, value=-1e-4)
            p.mul_(1 - 1e-6)


def build(
    context: int = 128, forward_only: bool = False, bf16: bool = False, layers: int = LAYERS
) -> Callable[[], object]:
    """A step of the recorded program on the default device: forward, or forward, loss, backward and AdamW."""
    device = torch.device("cuda")
    with device:
        model = Transformer(context, layers)
        tokens = torch.zeros(BATCH, context, dtype=torch.long)
    optimizer = AdamW(list(model.parameters()))

    def step() -> object:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
            logits = model(tokens)
            if forward_only:
                return logits
            loss = cross_entropy(logits, tokens)
            loss.backward()
            optimizer.step()
        return loss

    return step
