"""A trainer for a model that nobody downloaded: its shapes, random weights in their real formats, sequences of full length."""

import tempfile
from pathlib import Path
from typing import Any

from onecard.core.model import Model
from onecard.engines.sft import Recipe, nf4_config, trainer_of
from onecard.engines.synthetic_torch import empty_model, fill
from onecard.engines.transformers_config import config_of


def synthetic_trainer(model: Model, name: str, recipe: Recipe) -> tuple[Any, list[dict[str, Any]]]:
    """(trainer with its optimizer made, the micro-batches of one step), on the current default device."""
    import torch

    device = torch.get_default_device()
    where = str(device)
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    with torch.device("cpu"):
        net = empty_model(config_of(model, name), dtype, recipe.attention)
        for _ in fill(net, "nf4" if recipe.method == "qlora" else "bf16", dtype, where):
            pass
    net.train()
    if recipe.method == "full":
        net.requires_grad_(True)
    if recipe.method == "qlora":
        # What from_pretrained says of a 4-bit model: peft and the trainer look for it.
        from transformers.quantizers.auto import AutoHfQuantizer

        net.hf_quantizer = AutoHfQuantizer.from_config(nf4_config(recipe))
        net.is_loaded_in_4bit = True
        net.quantization_method = "bitsandbytes"
        net.is_quantized = True
    row = {"input_ids": [1] * recipe.sequence, "labels": [1] * recipe.sequence}
    folder = Path(tempfile.gettempdir()) / "onecard-synthetic"
    trainer = trainer_of(recipe, net, _tokenizer(), [row] * recipe.micro, [], folder, None)
    # What trainer.train() does before its loop: checkpointing, the optimizer, autocast around the forward pass.
    if recipe.checkpointing:
        trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trainer.create_optimizer()
    trainer.model_wrapped, trainer.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.model.train()
    ids = torch.randint(1, model.vocab, (recipe.micro, recipe.sequence), device=device)
    part = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
    return trainer, [part] * (recipe.batch // recipe.micro)


def _tokenizer() -> Any:
    """Something with a padding token; the synthetic rows are tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
