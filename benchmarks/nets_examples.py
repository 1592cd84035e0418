"""Steps of NVIDIA's DeepLearningExamples for PyTorch: BERT on SQuAD and ResNet-50 v1.5, as far as they differ in operators.

BERT there has attention written out (scores, mask, softmax, dropout, each an operator of its own), automatic mixed precision with a
scaled loss, clipped gradients and a fused Adam; its layer norms are fused in apex as they are in PyTorch itself. What its compiler
fuses besides (bias and activation) is not modelled. ResNet-50 is the one of transformers, which puts the stride into the 3 x 3
window as v1.5 does. Sources: PyTorch/LanguageModeling/BERT and PyTorch/Classification/ConvNets of
github.com/NVIDIA/DeepLearningExamples at 7299639.
"""

from collections.abc import Callable
from typing import Any

import torch

SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}


def build(net: str, **settings: Any) -> Callable[[], Any]:
    """squad or resnet50."""
    return squad(**settings) if net == "squad" else resnet50(**settings)


def squad(size: str, batch: int, precision: str, tokens: int, train: bool) -> Callable[[], Any]:
    """Answers to questions; precision: amp, tf32 or fp32."""
    from transformers import BertConfig, BertForQuestionAnswering

    amp = precision == "amp"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    with torch.device("cuda"):
        net = BertForQuestionAnswering(BertConfig(attn_implementation="eager", **SIZES[size])).train(train)
        ids = torch.zeros(batch, tokens, dtype=torch.long)
        places = torch.zeros(batch, dtype=torch.long)
    texts = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not train:
        return lambda: _inferred(net, amp, **texts)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-5, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=amp)

    def step() -> Any:
        with torch.autocast("cuda", dtype=torch.float16, enabled=amp):
            loss = net(**texts, start_positions=places, end_positions=places).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return loss

    return step


def resnet50(batch: int, precision: str) -> Callable[[], Any]:
    """A forward pass; in mixed precision images lie with their channels together, as its launch script asks."""
    from transformers import ResNetConfig, ResNetForImageClassification

    amp = precision == "amp"
    order = torch.channels_last if amp else torch.contiguous_format
    with torch.device("cuda"):
        net = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
        images = torch.zeros(batch, 3, 224, 224).to(memory_format=order)
    net = net.to(memory_format=order)
    return lambda: _inferred(net, amp, pixel_values=images)


def _inferred(net: Any, amp: bool, **inputs: torch.Tensor) -> Any:
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.float16, enabled=amp):
        return net(**inputs)
