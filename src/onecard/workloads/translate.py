"""Translate: fine-tune T5, BART or Marian on pairs of sentences, and translate a file with what was learnt.

Give a CSV, JSONL or Parquet file with a column of sources and one of targets. Without a file the run learns a small made-up
language with its own words, digits for number words and the verb at the end. BLEU stands beside that of the copy of the
source. `--translate FILE` then writes a translation of every row of a file, and a resumed run goes on after the last one.

A step's rows and dropout follow from (seed, step) alone, so a run that was killed goes on bit by bit.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.errors import BadSetting
from onecard.core.plan import Choice, Rung
from onecard.core.session import Session
from onecard.core.workload import Need, Workload
from onecard.engines import rows
from onecard.engines.parallel import GENERATED
from onecard.parts.epochs import EVALUATIONS, Epochs, held_rows, plan_epochs
from onecard.parts.micro import micro_choices, micro_ladder
from onecard.parts.text_nets import PAIRS, TextNet, find_net
from onecard.parts.text_training import TextStep, phases

TINY = TextNet(family="bart", vocab=512, positions=256, encoder=1, decoder=1, width=64, heads=4, head_dim=16, ffn=128)
"""learns the made-up language in a minute on a processor"""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which net on which pairs."""

    data: Annotated[
        str, Meta(description="file of pairs (.csv, .tsv, .jsonl, .parquet); empty: a made-up language")
    ] = ""
    model: Annotated[
        str,
        Meta(
            description="tiny (made here), opus-mt-en-de, t5-small, t5-base, bart-base, bart-large, or a folder of one of these"
        ),
    ] = "tiny"
    source_column: Annotated[str, Meta(description="column of what is translated")] = "source"
    target_column: Annotated[str, Meta(description="column of its translation")] = "target"
    prefix: Annotated[
        str, Meta(description="written before each source, like T5's 'translate English to German: '")
    ] = ""
    translate: Annotated[str, Meta(description="file whose source column is translated after training")] = ""
    held_out: Annotated[float, Meta(description="share of data that is held out", gt=0, lt=1)] = 0.1
    length: Annotated[int, Meta(description="longest text in tokens; the rest is cut off", ge=4, le=8192)] = 128
    target_length: Annotated[int, Meta(description="longest translation in tokens", ge=4, le=8192)] = 128
    epochs: Annotated[float, Meta(description="how often each pair is seen", gt=0)] = 5.0
    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="optimizer steps; left out: from epochs")] = (
        None
    )
    batch: Annotated[int, Meta(description="rows of one optimizer step", ge=1)] = 32
    micro_batch: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="rows computed at once")] = None
    checkpointing: Annotated[
        bool | None, Meta(description="keep only each layer's input and compute the rest again: less memory, slower")
    ] = None
    precision: Annotated[
        Literal["bf16", "fp32"],
        Meta(description="arithmetic on a GPU; weights stay fp32, a processor computes in fp32"),
    ] = "bf16"
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="peak of the learning rate; left out: 5e-5, or 3e-3 for tiny"),
    ] = None
    weight_decay: Annotated[float, Meta(description="pull of AdamW towards zero", ge=0)] = 0.01
    dropout: Annotated[float, Meta(description="share of activations set to zero in training", ge=0, lt=1)] = 0.1
    shorter: Annotated[
        bool, Meta(description="after an out of memory that nothing else cures, halve the length too")
    ] = False
    export: Annotated[bool, Meta(description="write the best net and its tokenizer as a transformers folder")] = True
    seed: Annotated[int, Meta(description="of the weights, the split, the order and the dropout", ge=0)] = 1337


def net_of(settings: Settings) -> TextNet:
    """The shape. Raises UnknownName, BadFile, BadSetting where texts would be longer than the net can see."""
    net = find_net(settings.model, PAIRS, TINY)
    longest = max(settings.length, settings.target_length)
    if 0 < net.positions < longest:
        raise BadSetting(
            f"a length of {longest} is longer than {settings.model} can see",
            why=f"it has {net.positions} positions",
            next=f"give --length and --target-length of {net.positions} or less",
        )
    return net


def course_of(settings: Settings, known: int | None = None) -> Epochs:
    """Steps and parts. known: rows to train on, where they have been read."""
    if known is None:
        whole = rows.about(settings.data) if settings.data else GENERATED
        known = whole - held_rows(whole, settings.held_out, most=400)
    return plan_epochs(
        known,
        epochs=settings.epochs,
        steps=settings.steps,
        batch=settings.batch,
        micro=settings.micro_batch,
        rate=settings.learning_rate or (3e-3 if settings.model == "tiny" else 5e-5),
        seed=settings.seed,
    )


def cost(settings: Settings) -> Cost:
    """Counted from the shapes for texts of full length; parts/text_training.py has each formula."""
    net, course = net_of(settings), course_of(settings)
    step = TextStep(
        net=net,
        batch=course.batch,
        micro=course.micro,
        length=settings.length,
        target=settings.target_length,
        bf16=settings.precision == "bf16",
        dropout=settings.dropout > 0,
        checkpointing=bool(settings.checkpointing),
    )
    held_out = min(400, max(1, round(course.rows * settings.held_out / (1 - settings.held_out))))
    return Cost(
        runtime="torch",
        phases=phases(
            step, steps=course.steps, evaluations=EVALUATIONS + 1, held_out=held_out, generated=settings.target_length
        ),
        extra={"parameters": step.parameters, "steps": course.steps, "rows": course.rows},
        notes=(
            f"{step.parameters / 1e6:.1f} M parameters, {course.steps:,} steps of {course.batch} rows",
            f"counted for rows of {settings.length} tokens; shorter rows need less memory and time",
        ),
    )


def choices(settings: Settings) -> tuple[Choice, ...]:
    """What costs only time."""
    return micro_choices(settings, cost)


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """What to give up after an out of memory, in order; the batch, the steps, the rows and the rate stay."""
    return micro_ladder(settings, course_of(settings).micro)


def build(settings: Settings) -> Any:
    """The net with fresh weights, its optimizer and synthetic rows of full length, on the current default device."""
    import torch

    from onecard.engines import text_model, text_run

    net, course = net_of(settings), course_of(settings)
    torch.manual_seed(settings.seed)
    built = text_model.build_net(net, classes=0, dropout=settings.dropout, checkpointing=bool(settings.checkpointing))

    def synthetic(step: int) -> text_run.Batch:
        shape, device = (course.micro, settings.length), torch.get_default_device()
        inputs = {
            "input_ids": torch.randint(3, net.vocab, shape, device=device),
            "attention_mask": torch.ones(shape, dtype=torch.long, device=device),
        }
        labels = torch.randint(3, net.vocab, (course.micro, settings.target_length), device=device)
        parts = course.batch // course.micro
        return [({**inputs, "labels": labels}, 1 / parts)] * parts

    return text_run.new_state(
        built, course, synthetic, weight_decay=settings.weight_decay, bf16=settings.precision == "bf16"
    )


def step(state: Any) -> Any:
    """One optimizer step; engines/text_run.py is the loop."""
    from onecard.engines import text_run

    return text_run.step(state)


def run(settings: Settings, session: Session) -> dict[str, Any]:
    """Train to the end, or on from the last checkpoint; judge beside the copy; translate what was asked for."""
    import torch

    from onecard.engines import checkpoint, text_model, text_pairs, text_run
    from onecard.engines.parallel import pairs

    torch.set_num_threads(session.threads)
    torch.set_default_device(session.device)
    session.baseline()
    net = net_of(settings)
    with session.phase("prepare"):
        asked = (
            [row[0] for row in rows.read(settings.translate, (settings.source_column,))] if settings.translate else []
        )
        data = text_pairs.prepare(
            settings,
            net,
            session,
            columns=(settings.source_column, settings.target_column),
            made=lambda: pairs(GENERATED, settings.seed),
            prefix=settings.prefix,
        )
        course = course_of(settings, len(data.train))
    with session.phase("build"):
        torch.manual_seed(settings.seed)
        built = text_model.build_net(
            net,
            classes=0,
            dropout=settings.dropout,
            checkpointing=bool(settings.checkpointing),
            weights=settings.model != "tiny",
        )
        state = text_run.new_state(
            built,
            course,
            lambda number: data.batch(course.of(number), course.micro, session.device),
            weight_decay=settings.weight_decay,
            bf16=settings.precision == "bf16",
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
            "parameters": size,
            "resumed_at": resumed,
        },
    )
    text_run.train(session, state, msgspec.to_builtins(settings), lambda: data.loss(state, session.device))
    sources, targets = [p.source for p in data.held_out], [p.target for p in data.held_out]
    with session.phase("evaluate"):
        written = data.write(state, sources, session.device)
        quality: dict[str, Any] = data.loss(state, session.device)
    quality |= {
        "bleu": text_pairs.bleu(written, targets),
        "copy_bleu": text_pairs.bleu(sources, targets),
        "exact_share": sum(w == t for w, t in zip(written, targets, strict=True)) / len(targets),
        "held_out_rows": len(targets),
        "cut_share": data.cut_share,
        "steps": state.step,
        "rows": len(data.train),
        "written": str(text_pairs.write_table(session.folder / "written.csv", data.held_out, written)),
    }
    if asked and not session.stopping:
        with session.phase("translate"):
            file = session.folder / "translated.jsonl"
            quality["translated_rows"] = text_pairs.answer_file(session, data, state, asked, file)
        quality["translated"] = str(file)
    if settings.export and not session.stopping:
        with session.phase("export"):
            sample = data.inputs(data.held_out[:4], session.device)
            text_model.export(state.net, data.tokenizer, session.folder / "export", sample)
        quality["export"] = str(session.folder / "export")
    return quality


def needs(settings: Settings) -> tuple[Need, ...]:
    modules = ("torch", "transformers", "tokenizers", "torchmetrics", "safetensors")
    return tuple(Need(module=m, extra="llm", purpose="to train a translator") for m in modules)


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
        ("Marian, en-de", {"model": "opus-mt-en-de"}),
        ("T5 base", {"model": "t5-base"}),
        ("BART large", {"model": "bart-large"}),
    ),
    example={"batch": 16, "length": 32, "target_length": 32},
)
