"""Steps that a GPU check proves and a trace predicts: `build(**settings)` returns the step. Random weights of real shapes.

Each is plain PyTorch as one would write it; `device` is "cuda" for a trace and on a card, "cpu" for a dry run with `tiny`.
"""

from collections.abc import Callable
from typing import Any

Step = Callable[[], Any]


def _causal_lm(tiny: bool) -> Any:
    """Llama-2-7B's shapes."""
    from transformers import LlamaConfig

    if tiny:
        return LlamaConfig(
            vocab_size=512, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4
        )
    return LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )


def _adapters(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=linear, task_type="CAUSAL_LM"))


def _train(model: Any, inputs: dict[str, Any], lr: float = 1e-4) -> Step:
    import torch

    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)

    def step() -> Any:
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def lora(
    length: int = 512, batch: int = 1, checkpointing: bool = True, device: str = "cuda", tiny: bool = False
) -> Step:
    """LoRA of a 7B model in bf16, rank 16 on all linear layers."""
    import torch
    from transformers import LlamaForCausalLM

    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(_causal_lm(tiny))
    torch.set_default_dtype(torch.float32)
    model = _adapters(model)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.randint(0, 500, (batch, length), device=device)
    return _train(model, {"input_ids": ids, "labels": ids})


def qlora(
    length: int = 512, batch: int = 1, checkpointing: bool = True, device: str = "cuda", tiny: bool = False
) -> Step:
    """QLoRA of a 7B model: nf4 with double quantisation, built layer by layer so that the bf16 model never exists whole."""
    import bitsandbytes as bnb
    import torch
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(_causal_lm(tiny)).to(torch.bfloat16)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            four = bnb.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True,
                quant_type="nf4",
            )  # fmt: skip
            # Made on the device: seven thousand million random numbers would take a processor a minute.
            weight = torch.empty(module.out_features, module.in_features, dtype=torch.bfloat16, device=device).normal_(
                std=0.02
            )
            four.weight = bnb.nn.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], four.to(device))
    for module in model.modules():
        for key, value in list(module._parameters.items()):
            if value is not None and value.is_meta:
                module._parameters[key] = torch.nn.Parameter(
                    torch.randn(value.shape, dtype=torch.bfloat16, device=device) * 0.02
                )
        for key, value in list(module._buffers.items()):
            if value is not None and value.is_meta:
                module._buffers[key] = torch.rand(value.shape, dtype=torch.float32, device=device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model = _adapters(model)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model.to(device)
    ids = torch.randint(0, 500, (batch, length), device=device)
    return _train(model, {"input_ids": ids, "labels": ids})


def resnet50(batch: int = 32, size: int = 224, device: str = "cuda", tiny: bool = False) -> Step:
    """ResNet-50, bf16 autocast, channels last, SGD with momentum."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(num_labels=1000)
    if tiny:
        config = ResNetConfig(num_labels=10, embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1])
    with torch.device(device):
        model = ResNetForImageClassification(config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, config.num_labels, (batch,), device=device)

    def step() -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(pixel_values=images, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def detector(batch: int = 32, size: int = 512, device: str = "cuda", tiny: bool = False) -> Step:
    """YOLOS-small, bf16 autocast, AdamW. The loss is a plain one on boxes and classes: matching happens on the host and holds no
    memory of the card."""
    import torch
    from transformers import YolosConfig, YolosModel

    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    if tiny:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = YolosConfig(**sizes, image_size=[size, size], num_detection_tokens=100)
    with torch.device(device):
        model = YolosModel(config, add_pooling_layer=False).train()
        heads = torch.nn.ModuleList([torch.nn.Linear(config.hidden_size, 92), torch.nn.Linear(config.hidden_size, 4)])
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=1e-4)
    images = torch.randn(batch, 3, size, size, device=device)

    def step() -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            seen = model(pixel_values=images).last_hidden_state[:, -100:]
            loss = heads[0](seen).float().logsumexp(-1).mean() + heads[1](seen).float().sigmoid().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def bert(batch: int = 32, length: int = 128, device: str = "cuda", tiny: bool = False) -> Step:
    """BERT-base classification, bf16 autocast, AdamW."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig()
    if tiny:
        config = BertConfig(
            vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
    with torch.device(device):
        model = BertForSequenceClassification(config)
    ids = torch.randint(0, 500, (batch, length), device=device)
    inner = _train(model, {"input_ids": ids, "labels": torch.zeros(batch, dtype=torch.long, device=device)})

    def step() -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            return inner()

    return step


def denoise(family: str = "sd15", batch: int = 2, size: int = 512, device: str = "cuda", tiny: bool = False) -> Step:
    """One denoising step of Stable Diffusion 1.5 or SDXL in fp16; batch 2 is one image with guidance."""
    import torch
    from diffusers import UNet2DConditionModel

    xl = family == "sdxl"
    config: dict[str, Any] = {"sample_size": size // 8, "cross_attention_dim": 768, "attention_head_dim": 8}
    if xl:
        config = {
            "sample_size": size // 8, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
            "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
        }  # fmt: skip
    if tiny:
        config = {
            "sample_size": size // 8, "cross_attention_dim": 32, "attention_head_dim": 4, "block_out_channels": (32, 64),
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        }  # fmt: skip
    kind = torch.float32 if device == "cpu" else torch.float16
    torch.set_default_dtype(kind)
    with torch.device(device):
        unet = UNet2DConditionModel(**config).eval()
    torch.set_default_dtype(torch.float32)
    latent = torch.randn(batch, 4, size // 8, size // 8, device=device, dtype=kind)
    text = torch.randn(batch, 77, config["cross_attention_dim"], device=device, dtype=kind)
    more = {}
    if xl and not tiny:
        pooled = torch.randn(batch, 1280, device=device, dtype=kind)
        more = {
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.zeros(batch, 6, device=device, dtype=kind)}
        }

    def step() -> Any:
        with torch.inference_mode():
            return unet(latent, 10, text, **more).sample

    return step


def vae(size: int = 1024, device: str = "cuda", tiny: bool = False) -> Step:
    """Decoding one image with the autoencoder of Stable Diffusion in fp16."""
    import torch
    from diffusers import AutoencoderKL

    channels = (16, 32) if tiny else (128, 256, 512, 512)
    blocks = len(channels)
    kind = torch.float32 if device == "cpu" else torch.float16
    torch.set_default_dtype(kind)
    with torch.device(device):
        model = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=channels, layers_per_block=2, latent_channels=4, norm_num_groups=16 if tiny else 32,
        ).eval()  # fmt: skip
    torch.set_default_dtype(torch.float32)
    latent = torch.randn(1, 4, size // 8, size // 8, device=device, dtype=kind)

    def step() -> Any:
        with torch.inference_mode():
            return model.decode(latent).sample

    return step
