"""The four steps whose tracing is timed: GPT-2, LoRA of a 7B model with checkpoints, SDXL's UNet denoising and its LoRA."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 2,
    "projection_class_embeddings_input_dim": 2816, "sample_size": 128, "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
}  # fmt: skip
"""config.json of the UNet of stabilityai/stable-diffusion-xl-base-1.0"""


@contextlib.contextmanager
def building(dtype: torch.dtype) -> Iterator[None]:
    """Weights are born on the card in this dtype."""
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def gpt2(batch: int = 8, tokens: int = 1024) -> Callable[[], Any]:
    """GPT-2 124M, bf16 autocast, AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with building(torch.float32):
        model = GPT2LMHeadModel(GPT2Config(vocab_size=50304)).train()
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.zeros(batch, tokens, dtype=torch.long, device="cuda")

    def step() -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def lora_7b(layers: int = 32, tokens: int = 2048) -> Callable[[], Any]:
    """A 7B model in bf16, rank 16 on all linear layers, gradient checkpointing."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=layers, num_attention_heads=32, vocab_size=32000
    )
    with building(torch.bfloat16):
        model = LlamaForCausalLM(config).train()
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, task_type="CAUSAL_LM", target_modules=names))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    ids = torch.zeros(1, tokens, dtype=torch.long, device="cuda")

    def step() -> Any:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def _unet(dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel

    with building(dtype):
        return UNet2DConditionModel(**SDXL)


def _inputs(batch: int, dtype: torch.dtype) -> dict[str, Any]:
    with torch.device("cuda"):
        extra = {"text_embeds": torch.zeros(batch, 1280, dtype=dtype), "time_ids": torch.zeros(batch, 6, dtype=dtype)}
        return {
            "sample": torch.zeros(batch, 4, 128, 128, dtype=dtype), "timestep": torch.zeros(batch, dtype=torch.long),
            "encoder_hidden_states": torch.zeros(batch, 77, 2048, dtype=dtype), "added_cond_kwargs": extra,
        }  # fmt: skip


def sdxl_denoise(batch: int = 2) -> Callable[[], Any]:
    """One denoising step at 1024 pixels with guidance, fp16."""
    unet, inputs = _unet(torch.float16).eval(), _inputs(batch, torch.float16)

    def step() -> Any:
        with torch.no_grad():
            return unet(**inputs).sample

    return step


def sdxl_lora() -> Callable[[], Any]:
    """LoRA of rank 16 on the UNet's attention, bf16, gradient checkpointing."""
    from peft import LoraConfig

    unet = _unet(torch.bfloat16).train()
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    unet.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad])
    inputs = _inputs(1, torch.bfloat16)

    def step() -> Any:
        loss = unet(**inputs).sample.float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step
