"""What translate and summarise share: a net that reads a text and writes another, trained on pairs, then let loose on files.

A Task says in what the two differ. A run without pairs of its own takes a trained model as it is: nothing is trained then,
the file is read and written to. A step's rows and dropout follow from (seed, step) alone, so a run that was killed goes
on bit by bit.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.cost import Cost
from onecard.core.errors import BadSetting
from onecard.core.session import Session
from onecard.core.workload import Need
from onecard.engines import rows
from onecard.parts.epochs import EVALUATIONS, Epochs, held_rows, plan_epochs
from onecard.parts.text_fields import in_bf16
from onecard.parts.text_nets import PAIRS, TextNet, find_net
from onecard.parts.text_training import TextStep, phases

HELD_OUT = 400
"""rows at most that the net is judged by: each is written token by token"""

Score = Callable[[list[str], list[str], list[str]], dict[str, float]]
"""(sources, targets, what the net wrote) -> figures of quality, the baseline's beside the net's"""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is written from what, for one Settings."""

    columns: tuple[str, str]
    """of the texts that are read, and of those that are to be written"""
    asked: str
    """file (or folder) of texts to write from after training; "": none"""
    answers: str
    """file name in the run's folder for what was written from them"""
    prefix: str
    """written before each text that is read"""
    tiny: TextNet
    rate: float
    """learning rate where none is given and the net is tiny"""
    generated: int
    made: Callable[[int, int], list[tuple[str, str]]]
    """(count, seed) -> pairs to learn where no data is given"""
    score: Score


def net_of(settings: Any, task: Task) -> TextNet:
    """The shape. Raises UnknownName, BadFile, BadSetting where texts would be longer than the net can see."""
    net = find_net(settings.model, PAIRS, task.tiny)
    longest = max(settings.length, settings.target_length)
    if 0 < net.positions < longest:
        raise BadSetting(
            f"a length of {longest} is longer than {settings.model} can see",
            why=f"it has {net.positions} positions",
            next=f"give --length and --target-length of {net.positions} or less",
        )
    return net


def as_it_is(settings: Any, task: Task) -> bool:
    """Whether nothing is trained: asked for with 0 steps, or a trained model, a file to write from, and no pairs."""
    without = settings.steps is None and not settings.data and bool(task.asked) and settings.model != "tiny"
    return bool(settings.steps == 0 or without)


def course_of(settings: Any, task: Task, known: int | None = None) -> Epochs:
    """Steps and parts. known: rows to train on, where they have been read."""
    if known is None:
        whole = rows.about(settings.data) if settings.data else task.generated
        known = whole - held_rows(whole, settings.held_out, most=HELD_OUT)
    return plan_epochs(
        max(1, known),
        epochs=settings.epochs,
        steps=0 if as_it_is(settings, task) else settings.steps,
        batch=settings.batch,
        micro=settings.micro_batch,
        rate=settings.learning_rate or (task.rate if settings.model == "tiny" else 5e-5),
        seed=settings.seed,
    )


def cost(settings: Any, task: Task, timed: bool = True) -> Cost:
    """Counted from the shapes for texts of full length; parts/text_training.py has each formula.

    timed: with the operations, or memory alone.
    """
    net, course = net_of(settings, task), course_of(settings, task)
    step = TextStep(
        net=net,
        batch=course.batch,
        micro=course.micro,
        length=settings.length,
        target=settings.target_length,
        bf16=in_bf16(settings),
        dropout=settings.dropout > 0,
        checkpointing=bool(settings.checkpointing),
        beams=settings.beams,
    )
    judged = settings.data or course.steps
    held_out = min(HELD_OUT, max(1, round(course.rows * settings.held_out / (1 - settings.held_out)))) if judged else 0
    written = held_out + (rows.about_texts(task.asked) if task.asked else 0)
    if not course.steps and not written:
        raise BadSetting(
            "there is nothing to do: no steps, no pairs to judge by, no texts to write from",
            next="give --data FILE, or name the file of texts, or leave --steps out",
        )
    what = f"{course.steps:,} steps of {course.batch} rows" if course.steps else "nothing is trained"
    return Cost(
        runtime="torch",
        phases=phases(
            step, steps=course.steps, evaluations=EVALUATIONS + 1, held_out=held_out, written=written, timed=timed
        ),
        extra={"parameters": step.parameters, "steps": course.steps, "rows": course.rows},
        notes=(
            f"{step.parameters / 1e6:.1f} M parameters, {what}",
            f"counted for rows of {settings.length} tokens; shorter rows need less memory and time",
        ),
    )


def build(settings: Any, task: Task) -> Any:
    """The net with fresh weights, its optimizer and synthetic rows of full length, on the current default device."""
    import torch

    from onecard.engines import text_model, text_run

    net, course = net_of(settings, task), course_of(settings, task)
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

    return text_run.new_state(built, course, synthetic, weight_decay=settings.weight_decay, bf16=in_bf16(settings))


def run(settings: Any, session: Session, task: Task) -> dict[str, Any]:
    """Train to the end, or on from the last checkpoint; judge beside the baseline; write from the file that was named."""
    import torch

    from onecard.engines import checkpoint, text_model, text_pairs, text_run

    torch.set_num_threads(session.threads)
    torch.set_default_device(session.device)
    net = net_of(settings, task)
    text_model.load_libraries(net)
    session.baseline()
    idle = as_it_is(settings, task)
    with session.phase("prepare"):
        asked = rows.texts(task.asked, task.columns[0]) if task.asked else []
        if settings.data:
            read: list[tuple[str, ...]] = rows.read(settings.data, task.columns)
        else:
            read = [] if idle else [*task.made(task.generated, settings.seed)]
        data = text_pairs.prepare(settings, net, session, read=read, asked=asked, prefix=task.prefix, most=HELD_OUT)
        course = course_of(settings, task, len(data.train))
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
            bf16=in_bf16(settings),
        )
        resumed = 0 if idle else text_run.restore(session, state)
        size = float(sum(p.numel() for p in built.parameters()))
        if not resumed and not idle:
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
    if not idle:
        text_run.train(session, state, msgspec.to_builtins(settings), lambda: data.loss(state, session.device))
    quality: dict[str, Any] = {"steps": state.step, "rows": len(data.train)}
    if data.held_out and not session.stopping:
        quality |= _judge(session, data, state, task)
    if asked and not session.stopping:
        file = session.folder / task.answers
        with session.phase("write"):
            quality["answered_rows"] = text_pairs.answer_file(session, data, state, asked, file)
        quality["answers"] = str(file)
    if settings.export and not idle and not session.stopping:
        with session.phase("export"):
            sample = data.inputs(data.held_out[:4], session.device)
            text_model.export(state.net, data.tokenizer, session.folder / "export", sample)
        quality["export"] = str(session.folder / "export")
    return quality


def _judge(session: Session, data: Any, state: Any, task: Task) -> dict[str, Any]:
    from onecard.engines import text_pairs

    sources, targets = [p.source for p in data.held_out], [p.target for p in data.held_out]
    with session.phase("evaluate"):
        figures: dict[str, Any] = data.loss(state, session.device)
    with session.phase("write"):
        start = time.perf_counter()
        written = data.write(state, sources, session.device)
        if not task.asked:
            session.measured("write_rows_per_s", len(sources) / (time.perf_counter() - start), "rows/s")
    return figures | {
        **task.score(sources, targets, written),
        "exact_share": sum(w == t for w, t in zip(written, targets, strict=True)) / len(targets),
        "held_out_rows": len(targets),
        "cut_share": data.cut_share,
        "written": str(text_pairs.write_table(session.folder / "written.csv", data.held_out, written)),
    }


def needs(settings: Any, task: Task, purpose: str) -> tuple[Need, ...]:
    """Libraries of a run. Marian's own tokenizer reads SentencePiece files, unless its folder has a tokenizer.json."""
    net = find_net(settings.model, PAIRS, task.tiny)
    modules = ["torch", "transformers", "tokenizers", "torchmetrics", "safetensors"]
    if net.family == "marian" and not (Path(net.hub) / "tokenizer.json").is_file():
        modules.append("sentencepiece")
    return tuple(Need(module=m, extra="llm", purpose=purpose) for m in modules)
