"""Fine-tune a language model on your own examples: full, LoRA or QLoRA.

TRL's SFTTrainer and PEFT do the training. Around them: the plan (which method and which micro-batch this card can hold),
a look at the data before the first step (how long the examples are, what is cut off), the same held-out questions answered
before and after, and exports that are opened again and compared: the adapter, the merged model, a GGUF file, an
Ollama Modelfile.

The effective batch is what you ask for; the micro-batch is what fits. After an out of memory the run goes on from its last
checkpoint with smaller parts of the same batch.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.errors import BadSetting
from onecard.core.model import Model
from onecard.core.plan import Choice, Rung
from onecard.core.session import Session
from onecard.core.workload import Need, Workload
from onecard.engines import conversations
from onecard.parts.course import divisor
from onecard.parts.finetuning import Tuning, elements, phases, trained_shapes
from onecard.parts.transformer import parameters

_ASKED = 3
"""held-out questions that are answered before and after"""
_STEPS = 100
"""where neither steps nor epochs are given"""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model learns what, and how."""

    model: Annotated[str, Meta(description="name, hub id or folder of the model that learns")]
    data: Annotated[
        str,
        Meta(
            description="JSONL, CSV or Parquet file, or a hub data set; empty: questions on Python's own documentation"
        ),
    ] = ""
    method: Annotated[
        Literal["full", "lora", "qlora", "gptq"] | None,
        Meta(
            description="train all weights, small adapters, adapters on a 4-bit model (nf4), or on a GPTQ one (priced, not run)"
        ),
    ] = None
    rank: Annotated[int, Meta(description="rank of the adapters", ge=1, le=1024)] = 16
    target: Annotated[
        Literal["all", "attention", "qv"], Meta(description="matrices that get an adapter: all, or those of attention")
    ] = "all"
    sequence: Annotated[int, Meta(description="longest example in tokens; what is longer is cut", ge=8)] = 1024
    batch: Annotated[int, Meta(description="examples of one optimizer step (effective batch)", ge=1)] = 16
    micro_batch: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="examples computed at once")] = None
    eval_batch: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="examples evaluated at once; left out: the micro-batch")
    ] = None
    checkpointing: Annotated[
        bool | None, Meta(description="keep only each layer's input and compute the rest again: less memory, slower")
    ] = None
    optimizer: Annotated[
        Literal["adamw", "adamw8bit", "paged-adamw8bit", "adafactor"], Meta(description="optimizer")
    ] = "adamw"
    attention: Annotated[Literal["sdpa", "eager"], Meta(description="fused attention, or the plain one")] = "sdpa"
    packing: Annotated[bool, Meta(description="put several short examples into one sequence")] = False
    precision: Annotated[
        Literal["bf16", "mixed", "fp32"],
        Meta(description="bf16 throughout, fp32 weights with bf16 arithmetic, or fp32"),
    ] = "bf16"
    steps: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="optimizer steps; left out: from epochs, else 100")
    ] = None
    epochs: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="how often each example is seen, where steps are left out"),
    ] = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="peak; left out: 2e-4 for adapters, 2e-5 for all weights")
    ] = None
    validation: Annotated[float, Meta(description="share of the examples kept for validation", gt=0, lt=1)] = 0.1
    shorter: Annotated[
        bool, Meta(description="after an out of memory that nothing else cures, halve the sequence too")
    ] = False
    export: Annotated[
        Literal["adapter", "gguf"], Meta(description="stop at the adapter, or merge and write a GGUF file")
    ] = "gguf"
    seed: Annotated[int, Meta(description="of the adapters, the data order and the split", ge=0)] = 0


def model_of(name: str) -> Model:
    """The model by name, hub id, folder or config.json. Raises UnknownName, BadFile, BadSetting for a GGUF file."""
    from onecard.catalog import model

    found: Model = model(name)
    if found.file is not None and found.file.endswith(".gguf"):
        raise BadSetting(
            f"{name} is a GGUF file, which cannot be fine-tuned",
            why="training needs the original weights",
            next="give --model the folder or the hub id of the model it was made from",
        )
    return found


def steps_of(settings: Settings) -> int:
    """Optimizer steps; from epochs by the rows that the file has, which a run counts again when it has read them."""
    if settings.steps is not None or settings.epochs is None:
        return settings.steps or _STEPS
    learnt = conversations.about(settings.data) * (1 - settings.validation)
    return max(1, ceil(settings.epochs * learnt / settings.batch))


def tuning_of(settings: Settings) -> Tuning:
    """The settings that memory and time depend on, with what was left out filled in."""
    steps = steps_of(settings)
    micro = divisor(settings.batch, settings.micro_batch or settings.batch)
    return Tuning(
        method=settings.method or "lora",
        rank=settings.rank,
        target=settings.target,
        optimizer=settings.optimizer,
        precision=settings.precision,
        checkpointing=bool(settings.checkpointing),
        fused=settings.attention == "sdpa",
        batch=settings.batch,
        micro=micro,
        eval_micro=settings.eval_batch or micro,
        sequence=settings.sequence,
        steps=steps,
        every=max(1, -(-steps // 10)),
    )


def cost(settings: Settings) -> Cost:
    """Counted from the model's shapes; parts/finetuning.py has each formula."""
    model, tuning = model_of(settings.model), tuning_of(settings)
    trained = elements(trained_shapes(model, tuning))
    return Cost(
        runtime="torch",
        phases=phases(model, tuning),
        extra={
            "parameters": parameters(model),
            "trained": trained,
            "tokens": tuning.steps * settings.batch * settings.sequence,
        },
        notes=(
            f"{trained / 1e6:.2f} M of {parameters(model) / 1e6:,.0f} M parameters are trained",
            *(("a GPTQ base is priced, not run: method qlora runs",) if tuning.method == "gptq" else ()),
        ),
    )


def choices(settings: Settings) -> tuple[Choice, ...]:
    """Smaller parts of the same batch first, then recomputation, then a 4-bit base."""
    found = []
    if settings.micro_batch is None:
        sizes = tuple(s for s in (16, 8, 4, 2, 1) if s <= settings.batch) or (1,)
        harms = tuple(0.05 * i for i in range(len(sizes)))
        found.append(Choice(setting="micro_batch", options=sizes, harms=harms, why="the same batch in smaller parts"))
    if settings.checkpointing is None:
        why = "a third more arithmetic"
        found.append(Choice(setting="checkpointing", options=(False, True), harms=(0.0, 0.3), why=why))
    if settings.method is None:
        why = "the base model in 4 bits while it learns"
        found.append(Choice(setting="method", options=("lora", "qlora"), harms=(0.0, 1.0), why=why))
    return tuple(found)


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """What to give up after an out of memory, in order; batch, steps, data order and learning rate stay."""
    tuning = tuning_of(settings)
    rungs, size = [], tuning.eval_micro
    while size > 1:
        size //= 2
        rungs.append(Rung(changed={"eval_batch": size}, phases=("evaluate",), why=f"evaluate {size} examples at once"))
    micro = tuning.micro
    while micro > 1:
        micro = divisor(tuning.batch, micro // 2)
        why = f"{tuning.batch // micro} parts of {micro} make the same batch of {tuning.batch}"
        rungs.append(Rung(changed={"micro_batch": micro}, phases=("build", "train", "save", "export"), why=why))
    if not tuning.checkpointing:
        why = "activations are computed again"
        rungs.append(Rung(changed={"checkpointing": True}, phases=("train", "save", "export"), why=why))
    if not tuning.fused:
        why = "fused attention computes the same without its matrix"
        rungs.append(Rung(changed={"attention": "sdpa"}, phases=("train", "evaluate"), why=why))
    if settings.shorter and settings.sequence >= 16:
        why = "half the sequence, as `shorter` allows: longer examples lose their end"
        rungs.append(Rung(changed={"sequence": settings.sequence // 2}, phases=("train", "evaluate"), why=why))
    return tuple(rungs)


def _recipe(settings: Settings) -> Any:
    from onecard.engines.sft import Recipe

    tuning = tuning_of(settings)
    return Recipe(
        method=tuning.method,
        rank=tuning.rank,
        target=tuning.target,
        optimizer=tuning.optimizer,
        precision=tuning.precision,
        attention=settings.attention,
        checkpointing=tuning.checkpointing,
        batch=tuning.batch,
        micro=tuning.micro,
        eval_micro=tuning.eval_micro,
        steps=tuning.steps,
        every=tuning.every,
        learning_rate=settings.learning_rate or (2e-5 if tuning.method == "full" else 2e-4),
        sequence=settings.sequence,
        packing=settings.packing,
        seed=settings.seed,
        settings=msgspec.to_builtins(settings),
    )


@dataclass
class State:
    """A trainer and the micro-batches of one step."""

    trainer: Any
    parts: list[dict[str, Any]]


def build(settings: Settings) -> State:
    """TRL's trainer around the model with synthetic weights, on the current default device."""
    from onecard.engines.sft_synthetic import synthetic_trainer

    trainer, parts = synthetic_trainer(model_of(settings.model), settings.model, _recipe(settings))
    return State(trainer=trainer, parts=parts)


def step(state: State) -> Any:
    """One optimizer step as the Trainer's own loop does it: its training_step for each part, clipping, the optimizer."""
    trainer = state.trainer
    items = sum(int(part["labels"].numel()) for part in state.parts)
    total = 0.0
    for part in state.parts:
        total = total + trainer.training_step(trainer.model_wrapped, dict(part), items)
    trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.model.zero_grad()
    return total


def run(settings: Settings, session: Session) -> dict[str, Any]:
    """Learn, or go on learning; answer the held-out questions before and after; export. Returns the figures of quality."""
    from onecard.engines.sft_run import finetune

    model = model_of(settings.model)
    return finetune(
        _recipe(settings),
        session,
        name=settings.model,
        hub_id=model.hub_id,
        data=settings.data,
        validation=settings.validation,
        epochs=settings.epochs if settings.steps is None else None,
        gguf=settings.export == "gguf",
        asked=_ASKED,
        trained_bytes=4.0 * elements(trained_shapes(model, tuning_of(settings))),
        model_bytes=2.0 * parameters(model),
    )


def needs(settings: Settings) -> tuple[Need, ...]:
    """TRL and PEFT; bitsandbytes for 4-bit models and 8-bit optimizers; gguf for the export.

    Raises BadSetting for a GPTQ base, which is priced and not run.
    """
    note = model_of(settings.model).note or ""
    if settings.method == "gptq" or "quantised with" in note:
        raise BadSetting(
            f"{settings.model} with method {settings.method or 'lora'} is priced, not run",
            why=note or "the training kernels of GPTQ come with libraries that are not used here",
            next="give --model the original weights and --method qlora (nf4), which takes as little memory",
        )
    found = [
        Need(module=m, extra="llm", purpose="to fine-tune")
        for m in ("torch", "transformers", "trl", "peft", "datasets")
    ]
    if settings.method == "qlora" or "8bit" in settings.optimizer:
        found.append(Need(module="bitsandbytes", extra="llm", purpose="for 4-bit weights and 8-bit optimizers"))
    if settings.export == "gguf":
        found.append(Need(module="gguf", extra="gguf", purpose="to export a GGUF file"))
    return tuple(found)


workload = Workload(
    settings=Settings,
    cost=cost,
    choices=choices,
    needs=needs,
    build=build,
    step=step,
    run=run,
    ladder=ladder,
    showcase=(
        ("1B", {"model": "llama-3.2-1b"}),
        ("3B", {"model": "llama-3.2-3b"}),
        ("7B to 8B", {"model": "qwen2.5-7b", "sequence": 512}),
        ("7B to 8B", {"model": "llama-3.1-8b", "sequence": 512}),
        ("13B", {"model": "llama-2-13b", "sequence": 512}),
    ),
    example={"model": "smollm2-135m", "sequence": 128},
)
