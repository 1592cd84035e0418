"""One denoising step of Stable Diffusion with guidance: the UNet on twice the batch, fp16, no gradients."""

from collections.abc import Callable
from typing import Any

import nets_times
import torch
from diffusers import UNet2DConditionModel

SD15: dict[str, Any] = {
    "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3, "layers_per_block": 2, "sample_size": 64,
}  # fmt: skip
"""config.json of the UNet of stable-diffusion-v1-5"""


def build(model: str, batch: int, size: int) -> Callable[[], Any]:
    """model: sd15 or sdxl.  size: of the image in pixels."""
    shape = nets_times.SDXL if model == "sdxl" else SD15
    half = torch.float16
    with nets_times.building(half):
        unet = UNet2DConditionModel(**shape).eval()
        rows, side = 2 * batch, size // 8
        inputs: dict[str, Any] = {
            "sample": torch.zeros(rows, 4, side, side), "timestep": torch.zeros((), dtype=torch.long),
            "encoder_hidden_states": torch.zeros(rows, 77, shape["cross_attention_dim"]),
        }  # fmt: skip
        if model == "sdxl":
            inputs["added_cond_kwargs"] = {"text_embeds": torch.zeros(rows, 1280), "time_ids": torch.zeros(rows, 6)}

    def step() -> Any:
        with torch.no_grad():
            return unet(**inputs).sample

    return step
