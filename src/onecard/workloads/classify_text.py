"""Classify text: sentiment, topics, or any labels, with BERT, DistilBERT or GPT-2.

Give a CSV, JSONL or Parquet file with a column of texts and one of labels. Without a file the run learns a
generated set of sentiments in which only negation decides: a bag of words is at chance there, a small transformer is
not. The commonest label and a bag of words stand beside the model in every result; what it got wrong is in errors.csv.

A step's rows and dropout follow from (seed, step) alone, so a run that was killed goes on bit by bit.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.errors import BadSetting
from onecard.core.plan import Choice, Rung
from onecard.core.session import Session
from onecard.core.workload import Need, Workload
from onecard.engines import rows
from onecard.engines.negation import GENERATED
from onecard.parts import text_fields as fields
from onecard.parts.epochs import EVALUATIONS, Epochs, held_rows, plan_epochs
from onecard.parts.micro import micro_choices, micro_ladder
from onecard.parts.text_nets import DECODERS, ENCODERS, TextNet, find_net
from onecard.parts.text_training import TextStep, phases

TINY = TextNet(family="gpt2", vocab=1024, positions=512, encoder=0, decoder=2, width=64, heads=4, head_dim=16, ffn=128)
"""learns the generated set in seconds on a processor"""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which net on which labelled texts."""

    data: Annotated[
        str, Meta(description="file of texts and labels (.csv, .tsv, .jsonl, .parquet); empty: generated sentiments")
    ] = ""
    model: Annotated[
        str,
        Meta(description="tiny (made here), distilbert-base, bert-base, bert-large, gpt2, or a folder of one of these"),
    ] = "tiny"
    text_column: Annotated[str, Meta(description="column of the texts")] = "text"
    label_column: Annotated[str, Meta(description="column of the labels")] = "label"
    labels: Annotated[
        str, Meta(description="the labels that may occur, with commas between; empty: those in the file")
    ] = ""
    evaluation: Annotated[str, Meta(description="file to judge by; empty: a part of data that is held out")] = ""
    held_out: fields.HeldOut = 0.1
    length: fields.Length = 128
    epochs: fields.Rounds = 3.0
    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="optimizer steps; left out: from epochs")] = (
        None
    )
    batch: fields.Batch = 32
    micro_batch: fields.MicroBatch = None
    checkpointing: fields.Checkpointing = None
    precision: fields.Precision = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="peak of the learning rate; left out: 3e-5, or 1e-3 for tiny"),
    ] = None
    weight_decay: fields.WeightDecay = 0.01
    dropout: fields.Dropout = 0.1
    shorter: fields.Shorter = False
    export: fields.Export = True
    seed: fields.Seed = 1337


def net_of(settings: Settings) -> TextNet:
    """The shape. Raises UnknownName, BadFile, BadSetting where texts would be longer than the net can see."""
    net = find_net(settings.model, (*ENCODERS, *DECODERS), TINY)
    if settings.length > net.positions:
        raise BadSetting(
            f"length = {settings.length} is longer than {settings.model} can see",
            why=f"it has {net.positions} positions",
            next=f"give --length {net.positions} or less",
        )
    return net


def classes_of(settings: Settings) -> int:
    """Labels that a plan counts with; a file's own number of labels changes a few rows of one matrix."""
    return max(2, len([name for name in settings.labels.split(",") if name.strip()]))


def course_of(settings: Settings, known: int | None = None) -> Epochs:
    """Steps and parts. known: rows to train on, where they have been read."""
    if known is None:
        whole = rows.about(settings.data) if settings.data else GENERATED
        known = whole if settings.evaluation else whole - held_rows(whole, settings.held_out)
    return plan_epochs(
        known,
        epochs=settings.epochs,
        steps=settings.steps,
        batch=settings.batch,
        micro=settings.micro_batch,
        rate=settings.learning_rate or (1e-3 if settings.model == "tiny" else 3e-5),
        seed=settings.seed,
    )


def cost(settings: Settings, timed: bool = True) -> Cost:
    """Counted from the shapes for texts of full length; parts/text_training.py has each formula.

    timed: with the operations, or memory alone.
    """
    net, course = net_of(settings), course_of(settings)
    step = TextStep(
        net=net,
        batch=course.batch,
        micro=course.micro,
        length=settings.length,
        classes=classes_of(settings),
        bf16=fields.in_bf16(settings),
        dropout=settings.dropout > 0,
        checkpointing=bool(settings.checkpointing),
    )
    held_out = min(2000, max(1, round(course.rows * settings.held_out / (1 - settings.held_out))))
    return Cost(
        runtime="torch",
        phases=phases(step, steps=course.steps, evaluations=EVALUATIONS + 1, held_out=held_out, timed=timed),
        extra={"parameters": step.parameters, "steps": course.steps, "rows": course.rows},
        notes=(
            f"{step.parameters / 1e6:.1f} M parameters, {course.steps:,} steps of {course.batch} rows",
            f"counted for rows of {settings.length} tokens; shorter rows need less memory and time",
        ),
    )


def held(settings: Settings) -> Cost:
    """The Cost without its operations."""
    return cost(settings, timed=False)


def choices(settings: Settings) -> tuple[Choice, ...]:
    """What costs only time."""
    return micro_choices(settings, held)


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """What to give up after an out of memory, in order; the batch, the steps, the rows and the rate stay."""
    return micro_ladder(settings, course_of(settings).micro)


def build(settings: Settings) -> Any:
    """The net with fresh weights, its optimizer and synthetic rows of full length, on the current default device."""
    import torch

    from onecard.engines import text_model, text_run

    net, course, classes = net_of(settings), course_of(settings), classes_of(settings)
    torch.manual_seed(settings.seed)
    built = text_model.build_net(
        net, classes=classes, dropout=settings.dropout, checkpointing=bool(settings.checkpointing)
    )

    def synthetic(step: int) -> text_run.Batch:
        shape, device = (course.micro, settings.length), torch.get_default_device()
        inputs = {
            "input_ids": torch.randint(3, net.vocab, shape, device=device),
            "attention_mask": torch.ones(shape, dtype=torch.long, device=device),
        }
        labels = torch.randint(0, classes, (course.micro,), device=device)
        parts = course.batch // course.micro
        return [({**inputs, "labels": labels}, 1 / parts)] * parts

    return text_run.new_state(
        built, course, synthetic, weight_decay=settings.weight_decay, bf16=fields.in_bf16(settings)
    )


def step(state: Any) -> Any:
    """One optimizer step; engines/text_run.py is the loop."""
    from onecard.engines import text_run

    return text_run.step(state)


def run(settings: Settings, session: Session) -> dict[str, Any]:
    """Train to the end, or on from the last checkpoint; judge beside the baselines; write the errors and the net."""
    import torch

    from onecard.engines import checkpoint, text_labels, text_model, text_run

    torch.set_num_threads(session.threads)
    torch.set_default_device(session.device)
    net = net_of(settings)
    text_model.load_libraries(net)
    session.baseline()
    with session.phase("prepare"):
        data = text_labels.prepare(settings, net, session)
        course = course_of(settings, len(data.train))
        baselines = data.baselines(settings.seed)
    with session.phase("build"):
        torch.manual_seed(settings.seed)
        built = text_model.build_net(
            net,
            classes=len(data.names),
            dropout=settings.dropout,
            checkpointing=bool(settings.checkpointing),
            weights=settings.model != "tiny",
        )
        data.describe(built)
        state = text_run.new_state(
            built,
            course,
            lambda number: data.batch(course.of(number), course.micro, session.device),
            weight_decay=settings.weight_decay,
            bf16=fields.in_bf16(settings),
        )
        resumed = text_run.restore(session, state)
        size = float(sum(p.numel() for p in built.parameters()))
        if not resumed:
            checkpoint.check_disk(session.folder, 12.0 * size, 4.0 * size * settings.export)
    session.emit(
        "effective",
        settings={
            "batch": course.batch,
            "micro_batch": course.micro,
            "length": settings.length,
            "precision": "bf16" if state.bf16 else "fp32",
            "steps": course.steps,
            "labels": ",".join(data.names),
            "parameters": size,
            "resumed_at": resumed,
        },
    )
    text_run.train(session, state, msgspec.to_builtins(settings), lambda: data.judge(state, session.device)[0])
    with session.phase("evaluate"):
        figures, predicted = data.judge(state, session.device)
    quality = {**figures, **baselines, **data.quality(predicted), "steps": state.step, "rows": len(data.train)}
    quality["errors_file"] = str(data.write_errors(session.folder / "errors.csv", predicted))
    if settings.export and not session.stopping:
        with session.phase("export"):
            sample = data.inputs(data.held_out[:4], session.device)
            text_model.export(state.net, data.tokenizer, session.folder / "export", sample)
        quality["export"] = str(session.folder / "export")
    return quality


def needs(settings: Settings) -> tuple[Need, ...]:
    modules = ("torch", "transformers", "tokenizers", "torchmetrics", "safetensors")
    return tuple(Need(module=m, extra="llm", purpose="to train a text classifier") for m in modules)


workload = Workload(
    settings=Settings,
    cost=cost,
    held=held,
    choices=choices,
    needs=needs,
    build=build,
    step=step,
    run=run,
    ladder=ladder,
    showcase=(
        ("DistilBERT", {"model": "distilbert-base", "length": 256}),
        ("BERT base, 512 tokens", {"model": "bert-base", "length": 512}),
        ("BERT large, 512 tokens", {"model": "bert-large", "length": 512}),
    ),
    example={"batch": 16, "length": 32},
)
