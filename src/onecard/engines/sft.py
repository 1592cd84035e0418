"""Supervised fine-tuning with TRL's SFTTrainer and PEFT: the model, the tokens, the trainer.

The trainer is TRL's own, untouched but for two doors: what it does is told to the Session (phases, losses, saved
checkpoints that count only when they are whole), and it stops when the Session says so.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, Unavailable
from onecard.core.session import Session
from onecard.engines import checkpoint, heap
from onecard.engines.conversations import Example

OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw8bit": "adamw_bnb_8bit",
    "paged-adamw8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}
"""our name -> transformers.TrainingArguments.optim"""

TARGETS = {"all": "all-linear", "attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "qv": ["q_proj", "v_proj"]}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the trainer needs to know of the settings."""

    method: str
    rank: int
    target: str
    optimizer: str
    precision: str
    attention: str
    checkpointing: bool
    batch: int
    micro: int
    eval_micro: int
    steps: int
    every: int
    learning_rate: float
    sequence: int
    packing: bool
    seed: int
    settings: dict[str, Any]
    """all settings, to be written beside each checkpoint"""


def source_of(name: str, hub_id: str | None) -> str:
    """Where transformers finds the weights: a folder, else the hub's name for a model of the catalogue."""
    path = Path(name).expanduser()
    return str(path if path.is_dir() else path.parent if path.is_file() else hub_id or name)


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a model, with something to pad with. Raises Unavailable."""
    from transformers import AutoTokenizer

    tokenizer = _loaded(AutoTokenizer, source)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(source: str, recipe: Recipe, device: str) -> Any:
    """The model in the types of the recipe, on the device. Raises Unavailable."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": recipe.attention, "device_map": {"": device}}
    if recipe.method == "qlora":
        options["quantization_config"] = nf4_config(recipe)
    with heap.apart(recipe.method == "qlora"):
        model = _loaded(AutoModelForCausalLM, source, **options)
    if recipe.method == "qlora" and device == "cpu":
        keep_trainable(model)
    return model


def nf4_config(recipe: Recipe) -> Any:
    """What transformers and bitsandbytes are told of a 4-bit base model."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if recipe.precision == "bf16" else torch.float32,
    )


def keep_trainable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for CPU inference when the model is evaluated.

    The repacked kernel has no backward pass and stays in use afterwards, so that training after an evaluation would learn
    from wrong gradients (bitsandbytes 0.50, nn.Linear4bit.forward and autograd matmul_4bit).
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False


def _loaded(kind: Any, source: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        # Offline, misspelt, gated and incomplete folders all end here, with messages of many lines.
        raise Unavailable(
            f"the model {source} could not be loaded",
            why=str(error).strip().splitlines()[0][:200],
            next="check the name and the network, or give --model a folder with config.json, weights and tokenizer.json",
        ) from None


def tokenised(examples: list[Example], tokenizer: Any) -> list[dict[str, list[int]]]:
    """input_ids and labels of each example, uncut; the prompt's labels are -100: only the completion is learnt."""
    rows = []
    for example in examples:
        before = prompt_ids(example, tokenizer)
        if tokenizer.chat_template and example.prompt:
            said = [{"role": r, "content": c} for r, c in example.prompt]
            said.append({"role": "assistant", "content": example.completion})
            ids = list(tokenizer.apply_chat_template(said, tokenize=True, return_dict=False))
        else:
            ids = before + tokenizer(example.completion, add_special_tokens=not before).input_ids
            ids.append(tokenizer.eos_token_id)
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), min(len(before), len(ids))
        )
        rows.append({"input_ids": ids, "labels": [-100] * shared + ids[shared:]})
    return rows


def prompt_ids(example: Example, tokenizer: Any) -> list[int]:
    """What stands before the answer, as the model sees it."""
    if not example.prompt:
        return []
    if tokenizer.chat_template:
        said = [{"role": r, "content": c} for r, c in example.prompt]
        return list(tokenizer.apply_chat_template(said, tokenize=True, add_generation_prompt=True, return_dict=False))
    asked = "\n\n".join(content for _, content in example.prompt)
    return list(tokenizer(f"{asked}\n\n").input_ids)


def cut(rows: list[dict[str, list[int]]], limit: int) -> list[dict[str, list[int]]]:
    """Every row cut to `limit` tokens; rows of which nothing is left to learn are dropped. Raises BadFile if all are."""
    short = [{k: v[:limit] for k, v in row.items()} for row in rows]
    kept = [row for row in short if any(label != -100 for label in row["labels"])]
    if not kept:
        raise BadFile(
            f"no example has anything to learn within {limit} tokens",
            why="every prompt alone is longer than that",
            next="give a larger --sequence, or shorter prompts",
        )
    return kept


def trainer_of(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    train: list[dict[str, list[int]]],
    evaluation: list[dict[str, list[int]]],
    folder: Path,
    session: Session | None,
) -> Any:
    """TRL's trainer for a recipe, told to a Session (None: to nobody, in traces and proofs)."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from onecard.engines.sft_callback import told_to

    def phase(name: str) -> AbstractContextManager[None]:
        return session.phase(name) if session is not None else nullcontext()

    class Trainer(SFTTrainer):
        """SFTTrainer whose evaluations and saves are phases, and whose checkpoints are sealed."""

        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            with phase("evaluate"):
                return super().evaluate(*args, **kwargs)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            with phase("save"):
                super()._save_checkpoint(model, trial)
                step = self.state.global_step
                losses = [e["eval_loss"] for e in self.state.log_history if e.get("step") == step and "eval_loss" in e]
                figures = {"validation_loss": float(losses[-1])} if losses else {}
                place = Path(self.args.output_dir) / f"checkpoint-{step}"
                checkpoint.seal(folder, step, place, recipe.settings, figures)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """Nothing: a card with links is for a hub, not for a checkpoint."""

    on_cpu = torch.get_default_device().type == "cpu"
    arguments = SFTConfig(
        output_dir=str(folder / checkpoint.FOLDER),
        max_length=recipe.sequence,
        dataset_kwargs={"skip_prepare_dataset": True},
        shuffle_dataset=False,
        per_device_train_batch_size=recipe.micro,
        gradient_accumulation_steps=recipe.batch // recipe.micro,
        per_device_eval_batch_size=recipe.eval_micro,
        gradient_checkpointing=recipe.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=recipe.precision != "fp32",
        optim=OPTIMIZERS[recipe.optimizer],
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, recipe.steps // 20),
        max_grad_norm=1.0,
        max_steps=recipe.steps,
        eval_strategy="steps" if evaluation else "no",
        eval_steps=recipe.every,
        save_strategy="steps" if session is not None else "no",
        save_steps=recipe.every,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu and session is not None,
        seed=recipe.seed,
        data_seed=recipe.seed,
    )
    lora = None
    if recipe.method != "full":
        lora = LoraConfig(
            r=recipe.rank,
            lora_alpha=2 * recipe.rank,
            lora_dropout=0.0,
            target_modules=TARGETS[recipe.target],
            task_type="CAUSAL_LM",
        )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(Dataset, train, recipe),
        eval_dataset=_dataset(Dataset, evaluation, recipe) if evaluation else None,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[told_to(session, recipe)] if session is not None else None,
    )


def _dataset(kind: Any, rows: list[dict[str, list[int]]], recipe: Recipe) -> Any:
    made = kind.from_list(rows)
    if not recipe.packing:
        return made
    from trl import pack_dataset

    return pack_dataset(made, recipe.sequence, "wrapped")
