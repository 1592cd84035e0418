"""Pretrain a small GPT from scratch on any text.

One dial sets the size: `depth`; the width follows (64 for each layer), and the number of tokens follows from the parameters
(20 for each, arXiv 2203.15556). `--time 30m` turns the dial for this device: the planner takes the deepest net whose
whole training fits into that time and into the memory, and the run measures its own speed on the first steps and sets
its last step so that it ends on time.

Weights are kept in fp32 and the arithmetic is bf16 (mixed precision, written out in nets/gpt.py instead of autocast). A
step's data follows from (seed, step) alone. So a run that was killed goes on bit by bit, and a smaller
micro-batch (after an out of memory) changes neither the data nor the effective batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.plan import Choice, Rung
from onecard.core.require import has
from onecard.core.session import Session
from onecard.core.units import parse_duration
from onecard.core.workload import Need, Workload
from onecard.parts.course import EVALUATIONS, Course, divisor, plan_course, within
from onecard.parts.gpt import GptShape, gpt_phases

_PROBE = 20
"""steps after which the run knows its own speed"""
_SAVE_EVERY = 120.0
"""seconds without a checkpoint after which one is made between evaluations"""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to train on what, and for how long."""

    corpus: Annotated[
        str, Meta(description="a text file or a folder of texts; empty: the source of Python's standard library")
    ] = ""
    time: Annotated[str, Meta(description="how long training may take, like 30m; picks the depth and ends the run")] = (
        "30m"
    )
    depth: Annotated[Annotated[int, Meta(ge=1, le=64)] | None, Meta(description="number of layers")] = None
    aspect: Annotated[int, Meta(description="width of the net for each layer of depth", ge=8, le=256)] = 64
    head_dim: Annotated[int, Meta(description="width of one attention head", ge=8, le=128)] = 64
    context: Annotated[int, Meta(description="tokens that the net sees at once", ge=8, le=8192)] = 256
    tokenizer: Annotated[
        Literal["bpe", "characters"], Meta(description="learn a vocabulary from the corpus, or write byte by byte")
    ] = "bpe"
    vocab: Annotated[int, Meta(description="size of the learnt vocabulary", ge=320, le=131072)] = 4096
    ratio: Annotated[float, Meta(description="tokens to train on for each parameter", gt=0)] = 20.0
    steps: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="optimizer steps; left out: from ratio and time")
    ] = None
    batch: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="sequences of one optimizer step; left out: from the tokens"),
    ] = None
    micro_batch: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="sequences computed at once")] = None
    checkpointing: Annotated[
        bool | None, Meta(description="keep only each layer's input and compute the rest again: less memory, slower")
    ] = None
    precision: Annotated[Literal["bf16", "fp32"], Meta(description="type of the arithmetic; weights stay fp32")] = (
        "bf16"
    )
    compile: Annotated[bool, Meta(description="torch.compile, on a GPU with Triton")] = True
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="peak of the learning rate; left out: from width")
    ] = None
    weight_decay: Annotated[float, Meta(description="pull of AdamW towards zero", ge=0)] = 0.1
    shorter: Annotated[
        bool, Meta(description="after an out of memory that nothing else cures, halve the context too")
    ] = False
    sample: Annotated[str, Meta(description="start of the texts written at each evaluation")] = "def "
    export: Annotated[bool, Meta(description="write the best net as a Llama folder and as a GGUF file")] = True
    seed: Annotated[int, Meta(description="of the weights, the data order and the samples", ge=0)] = 1337


def shape_of(settings: Settings) -> GptShape:
    """The net. The feed-forward has 8/3 of the width (as many weights as an ungated one of 4), to a multiple of 64."""
    depth = settings.depth or 1
    width = max(1, round(depth * settings.aspect / settings.head_dim)) * settings.head_dim
    # 64 divides the vocabulary, so that the head's matmul has an even shape; the rows beyond the tokens stay unused.
    vocab = 320 if settings.tokenizer == "characters" else -(-settings.vocab // 64) * 64
    return GptShape(
        vocab=vocab,
        context=settings.context,
        depth=depth,
        width=width,
        heads=width // settings.head_dim,
        ffn=-(-8 * width // 3 // 64) * 64,
    )


def course_of(settings: Settings) -> Course:
    """Fill in what was left out; parts/course.py has the rules."""
    parse_duration(settings.time)
    return plan_course(
        shape_of(settings),
        ratio=settings.ratio,
        steps=settings.steps,
        batch=settings.batch,
        micro=settings.micro_batch,
        learning_rate=settings.learning_rate,
    )


def cost(settings: Settings) -> Cost:
    """Counted from the shapes of nets/gpt.py; parts/gpt.py has each formula."""
    course = course_of(settings)
    shape = course.shape
    return Cost(
        runtime="torch",
        phases=gpt_phases(
            shape,
            batch=course.batch,
            micro=course.micro,
            steps=course.steps,
            evaluations=-(-course.steps // course.every),
            held_out=course.held_out * shape.context,
            element=2 if settings.precision == "bf16" else 4,
            checkpointing=bool(settings.checkpointing),
        ),
        extra={
            "parameters": shape.parameters,
            "tokens": course.steps * course.tokens_per_step,
            "steps": course.steps,
            "batch": course.batch,
            "width": shape.width,
        },
        notes=(
            f"{shape.parameters / 1e6:.2f} M parameters, {course.steps:,} steps of {course.tokens_per_step:,} tokens",
            "counted for the eager net: torch.compile on a GPU needs less memory and time",
        ),
    )


def choices(settings: Settings) -> tuple[Choice, ...]:
    """Depth first of all (a shallower net is a worse net), then what costs only time."""
    found = []
    if settings.depth is None:
        depths = (24, 20, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
        found.append(
            Choice(setting="depth", options=depths, harms=tuple(map(float, range(len(depths)))), why="a smaller net")
        )
    if settings.micro_batch is None:
        sizes = (64, 32, 16, 8, 4, 2, 1)
        found.append(
            Choice(
                setting="micro_batch",
                options=sizes,
                harms=tuple(0.02 * i for i in range(len(sizes))),
                why="the same batch in more, smaller parts: slower where these do not fill the device",
            )
        )
    if settings.checkpointing is None:
        why = "a third more arithmetic"
        found.append(Choice(setting="checkpointing", options=(False, True), harms=(0.0, 0.4), why=why))
    return tuple(found)


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """What to give up after an out of memory, in order; the batch, the steps, the data and the rate stay."""
    course = course_of(settings)
    # Less memory in training helps everywhere: the allocator keeps the peak of training for itself all along.
    everywhere = ("build", "train", "evaluate", "save", "export")
    rungs, micro = [], course.micro
    while micro > 1:
        micro = divisor(course.batch, micro // 2)
        why = f"{course.batch // micro} micro-batches of {micro} make the same batch of {course.batch}"
        rungs.append(Rung(changed={"micro_batch": micro}, phases=everywhere, why=why))
    if not settings.checkpointing:
        rungs.append(
            Rung(
                changed={"checkpointing": True},
                phases=("train", "save", "export"),
                why="activations are computed again",
            )
        )
    if settings.shorter and settings.context >= 16:
        why = "half the context, as `shorter` allows: this changes what the net learns"
        rungs.append(Rung(changed={"context": settings.context // 2}, phases=everywhere, why=why))
    return tuple(rungs)


@dataclass
class State:
    """A training step's world."""

    net: Any
    """GPT"""
    forward: Callable[..., Any]
    """the net, compiled where that is possible"""
    optimizer: Any
    course: Course
    batch: Callable[[int], Any]
    """step -> tokens (batch, context + 1) on the device"""
    step: int = 0


def build(settings: Settings) -> State:
    """The net with fresh weights, its optimizer and synthetic tokens, on the current default device."""
    import torch

    from onecard.nets.gpt import GPT, Shape

    course = course_of(settings)
    s = course.shape
    torch.manual_seed(settings.seed)
    net = GPT(
        Shape(vocab=s.vocab, context=s.context, depth=s.depth, width=s.width, heads=s.heads, ffn=s.ffn),
        dtype=torch.bfloat16 if settings.precision == "bf16" else torch.float32,
        checkpointing=bool(settings.checkpointing),
    )
    tables = [p for name, p in net.named_parameters() if name.startswith("embed")]
    matrices = [p for name, p in net.named_parameters() if not name.startswith("embed")]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": tables, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=course.learning_rate, betas=(0.9, 0.95), fused=True)
    device = torch.get_default_device()
    forward = torch.compile(net) if settings.compile and device.type == "cuda" and has("triton") else net

    def synthetic(step: int) -> Any:
        return torch.randint(0, s.vocab, (course.batch, s.context + 1), device=device)

    return State(net=net, forward=forward, optimizer=optimizer, course=course, batch=synthetic)


def step(state: State) -> Any:
    """One optimizer step over all micro-batches; returns the mean loss (a tensor, so that nothing has to wait)."""
    import torch

    from onecard.engines.course import learning_rate

    course = state.course
    rate = learning_rate(state.step, steps=course.steps, warmup=course.warmup, peak=course.learning_rate)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    parts, total = state.batch(state.step).split(course.micro), 0.0
    for part in parts:
        loss = state.forward(part[:, :-1], part[:, 1:]) / len(parts)
        loss.backward()
        total = total + loss.detach()
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return total


def run(settings: Settings, session: Session) -> dict[str, Any]:
    """Train to the end, or on from the last checkpoint; then export the best net. Returns the figures of quality."""
    import torch

    from onecard.engines import checkpoint, corpus, gpt_run
    from onecard.engines.course import LossLog, Watch, matmul_rate

    watch = Watch(parse_duration(settings.time))
    torch.set_num_threads(session.threads)
    torch.set_default_device(session.device)
    session.baseline()
    with session.phase("prepare"):
        text = corpus.prepare(
            settings.corpus,
            session.folder / "corpus",
            seed=settings.seed,
            vocab=corpus.BYTES + 1 if settings.tokenizer == "characters" else settings.vocab,
            context=settings.context,
        )
        held_out = corpus.spread(text.validation, course_of(settings).held_out, settings.context)
        bigram = corpus.bigram_loss(text.train, held_out, shape_of(settings).vocab)
    with session.phase("build"):
        state = build(settings)
        course = state.course
        state.batch = gpt_run.reader(text, course.batch, settings.context, seed=settings.seed, device=session.device)
        resumed = _restore(session, state, watch)
        course = state.course
        if not resumed:
            checkpoint.check_disk(session.folder, 12.0 * course.shape.parameters, 8.0 * course.shape.parameters)
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        log = LossLog(
            session,
            unit="tokens",
            units_per_step=course.tokens_per_step,
            flops_per_step=course.shape.flops_per_token * course.tokens_per_step,
            peak=matmul_rate(session.device, dtype),
        )
    session.emit(
        "effective",
        settings={
            "batch": course.batch,
            "micro_batch": course.micro,
            "context": course.shape.context,
            "compile": state.forward is not state.net,
            "parameters": course.shape.parameters,
            "corpus_tokens": text.tokens,
            "resumed_at": state.step,
        },
    )

    def evaluate() -> dict[str, float]:
        with session.phase("evaluate"):
            loss = gpt_run.evaluate(state.net, held_out, state.course.micro, session.device)
        session.emit("validation", step=state.step, loss=loss, bigram_loss=bigram)
        gpt_run.write_sample(
            session, state.net, text, settings.sample, step=state.step, seed=settings.seed, loss=loss, bigram=bigram
        )
        return {"validation_loss": loss}

    def save(figures: dict[str, float]) -> None:
        with session.phase("save"):
            checkpoint.save(session.folder, state.step, _state(state, watch), msgspec.to_builtins(settings), figures)
        watch.saved()
        log.pause()

    timed = settings.steps is None
    with session.phase("train"):
        if state.step == 0:
            save(evaluate())
        while state.step < state.course.steps and not session.stopping:
            loss = step(state)
            log.step(state.step, state.optimizer.param_groups[0]["lr"], loss, state.course.steps)
            if timed and state.step == _PROBE:
                log.look(state.course.steps)
                before = watch.elapsed
                figures = evaluate()
                watch.reserve = (EVALUATIONS + 1) * (watch.elapsed - before)
                left = watch.limit - watch.elapsed - watch.reserve
                state.course = within(state.course, left, state.step, log.step_seconds)
                session.emit("course", steps=state.course.steps, step_seconds=log.step_seconds)
                save(figures)
            if timed and state.step > _PROBE and watch.over:
                break
            if state.step % state.course.every == 0 and state.step < state.course.steps:
                log.look(state.course.steps)
                save(evaluate())
            elif watch.unsaved > _SAVE_EVERY:
                log.look(state.course.steps)
                save({})
        log.look(state.course.steps)
        last = checkpoint.last(session.folder)
        if last is None or last.step != state.step or "validation_loss" not in last.figures:
            save(evaluate())
    if log.step_seconds:
        session.measured("train_tokens_per_s", course.tokens_per_step / log.step_seconds, "tokens/s")
    quality = gpt_run.figures(
        session, text, log, bigram=bigram, step=state.step, tokens_per_step=course.tokens_per_step
    )
    if settings.export and not session.stopping:
        quality["export"] = gpt_run.export(session, state.net, text, at=state.step)
    return quality


def _state(state: State, watch: Any) -> dict[str, Any]:
    """All that the next step depends on, and the time that was spent."""
    return {
        "net": state.net.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "steps": state.course.steps,
        "warmup": state.course.warmup,
        "every": state.course.every,
        "elapsed": watch.elapsed,
    }


def _restore(session: Session, state: State, watch: Any) -> bool:
    """Go on where the last whole checkpoint is; False where there is none. The length of the run is the checkpoint's."""
    from onecard.engines.gpt_run import restore

    saved = restore(session, state.net, state.optimizer)
    if saved is None:
        return False
    state.step = saved["step"]
    state.course = msgspec.structs.replace(state.course, **{k: saved[k] for k in ("steps", "warmup", "every")})
    watch.start -= saved["elapsed"]
    return True


def needs(settings: Settings) -> tuple[Need, ...]:
    found = tuple(Need(module=m, extra="llm", purpose="to train a GPT") for m in ("torch", "tokenizers", "safetensors"))
    return (*found, Need(module="gguf", extra="gguf", purpose="to export a GGUF file")) if settings.export else found


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
        ("30 minutes", {"time": "30m"}),
        ("8 hours", {"time": "8h", "context": 1024, "vocab": 16384}),
        ("GPT-2 small size", {"depth": 12, "context": 1024, "vocab": 50304}),
    ),
    example={"depth": 2, "context": 64, "tokenizer": "characters"},
)
