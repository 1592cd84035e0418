"""The BERT-large ladder of the transformers documentation (2022, one V100): one change after another, memory by NVML.

The network is the installed one with the attention of then written out: PyTorch up to 1.10 kept the input of a softmax for
its backward pass besides the result (derivatives.yaml: `_softmax_backward_data(grad, result, dim, self)`). The training loop
is that of the Trainer of transformers 4.20: gradients are zeroed in place and so stay, there are no foreach optimizers,
checkpoints are reentrant. Source: docs/source/en/perf_train_gpu_one.mdx of transformers at 0016acf.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

TOKENS = 512
CONTEXT = 1343 * 2**20
"""what the page's own first step shows: the card's memory after one tiny tensor was made"""


class Softmax(torch.autograd.Function):
    """Over the last dimension; keeps input and result, as PyTorch 1.10 did."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.softmax(x, -1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        return torch._softmax_backward_data(grad, y, -1, x.dtype)


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """The attention of BERT, one operator after the other: (batch, heads, tokens, head) -> (batch, tokens, heads, head)."""
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores / 8.0
    mask = torch.zeros(query.shape[0], 1, 1, key.shape[2], device=query.device)
    scores = scores + mask
    if torch.is_autocast_enabled("cuda"):
        scores = scores.float()
    probabilities = Softmax.apply(scores)
    probabilities = nn.functional.dropout(probabilities, 0.1, module.training)
    context = torch.matmul(probabilities, value)
    return context.permute(0, 2, 1, 3).contiguous(), None


class AdamW:
    """transformers.AdamW: both moments in fp32, a denominator out of place for one parameter after the other."""

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
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            denominator = v.sqrt().add_(1e-6)
            p.addcdiv_(m, denominator, value=-1e-5)


class Adam8bit:
    """bitsandbytes: moments in 8 bits with an fp32 scale for 2048, for parameters above 4096 elements."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.state: dict[nn.Parameter, tuple[Tensor, ...]] = {}

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            if p.grad is None or p in self.state:
                continue
            dtype = torch.uint8 if p.numel() >= 4096 else torch.float32
            moments = tuple(torch.zeros_like(p, dtype=dtype) for _ in range(2))
            scales = tuple(torch.zeros(-(-p.numel() // 2048), device=p.device) for _ in range(2))
            self.state[p] = moments + (scales if dtype == torch.uint8 else ())


class Adafactor:
    """transformers.Adafactor with first moment off: rows and columns instead of a second moment, large temporaries."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.state: dict[nn.Parameter, tuple[Tensor, ...]] = {}

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            if p.grad is None:
                continue
            grad = p.grad
            if p not in self.state:
                rows_columns = (torch.zeros(grad.shape[:-1]), torch.zeros(grad.shape[:-2] + grad.shape[-1:]))
                second = rows_columns if grad.dim() >= 2 else (torch.zeros_like(grad),)
                self.state[p] = tuple(t.to(grad) for t in second)
            update = (grad**2) + 1e-30
            if grad.dim() >= 2:
                row, column = self.state[p]
                row.mul_(0.9).add_(update.mean(dim=-1), alpha=0.1)
                column.mul_(0.9).add_(update.mean(dim=-2), alpha=0.1)
                r = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
                c = column.unsqueeze(-2).rsqrt()
                update = torch.mul(r, c)
                update.mul_(grad)
            else:
                (second,) = self.state[p]
                second.mul_(0.9).add_(update, alpha=0.1)
                update = second.rsqrt().mul_(grad)
            update.div_((update.norm(2) / (update.numel() ** 0.5)).clamp_(min=1.0))
            update.mul_(1e-5)
            p.add_(-update)


OPTIMIZERS = {"AdamW": AdamW, "Adafactor": Adafactor, "8-bit Adam": Adam8bit}


def build(
    batch: int = 4, fp16: bool = False, checkpoint: bool = False, optimizer: str = "AdamW"
) -> Callable[[], Tensor]:
    """Forward, backward, clipping, update; gradients stay."""
    from transformers import AttentionInterface, BertConfig, BertForSequenceClassification

    AttentionInterface.register("eager-2022", attention)

    config = BertConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, vocab_size=30522
    )
    config._attn_implementation = "eager-2022"
    with torch.device("cuda"):
        model = BertForSequenceClassification(config).train()
    if checkpoint:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    updater = OPTIMIZERS[optimizer](list(model.parameters()))
    tokens = torch.zeros(batch, TOKENS, dtype=torch.long, device="cuda")
    labels = torch.zeros(batch, dtype=torch.long, device="cuda")

    def step() -> Tensor:
        with torch.autocast("cuda", dtype=torch.float16, enabled=fp16):
            loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        norms = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])
        share = torch.clamp(1.0 / (norms.norm() + 1e-6), max=1.0)
        for p in model.parameters():
            if p.grad is not None:
                p.grad.detach().mul_(share)
        updater.step()
        model.zero_grad(set_to_none=False)
        return loss

    return step
