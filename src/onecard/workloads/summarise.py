"""Summarise: fine-tune T5 or BART on texts and their summaries, and summarise a file with what was learnt.

Give a CSV, JSONL or Parquet file with a column of texts and one of summaries. Without a file the run learns made-up reports
of a harbour office, whose facts are spread between sentences about other ships in the same words. ROUGE stands beside
that of the first three sentences (lead-3). `--summarise FILE` then writes a summary of every row of a file or of every .txt
of a folder, and a resumed run goes on after the last one; a trained model without pairs summarises the file as it is.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.plan import Choice, Rung
from onecard.core.session import Session
from onecard.core.workload import Need, Workload
from onecard.engines import pairs_run, reports
from onecard.parts import text_fields as fields
from onecard.parts.micro import micro_choices, micro_ladder
from onecard.parts.text_nets import TextNet

TINY = TextNet(family="bart", vocab=512, positions=256, encoder=2, decoder=1, width=64, heads=4, head_dim=16, ffn=128)
"""learns the made-up reports in a minute on a processor"""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which net on which texts and summaries."""

    data: Annotated[
        str, Meta(description="file of texts and summaries (.csv, .tsv, .jsonl, .parquet); empty: made-up reports")
    ] = ""
    model: Annotated[
        str,
        Meta(description="tiny (made here), t5-small, t5-base, bart-base, bart-large, or a folder of one of these"),
    ] = "tiny"
    text_column: Annotated[str, Meta(description="column of the texts")] = "text"
    summary_column: Annotated[str, Meta(description="column of their summaries")] = "summary"
    prefix: Annotated[
        str | None, Meta(description="written before each text; left out: 'summarize: ' for T5, nothing for others")
    ] = None
    summarise: Annotated[
        str,
        Meta(description="file whose text column is summarised, or a folder of .txt files; without data: as it is"),
    ] = ""
    beams: fields.Beams = 1
    held_out: fields.HeldOut = 0.1
    length: fields.Length = 256
    target_length: Annotated[int, Meta(description="longest summary in tokens", ge=4, le=8192)] = 64
    epochs: fields.Rounds = 3.0
    steps: fields.PairSteps = None
    batch: fields.Batch = 32
    micro_batch: fields.MicroBatch = None
    checkpointing: fields.Checkpointing = None
    precision: fields.Precision = None
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="peak of the learning rate; left out: 5e-5, or 3e-3 for tiny"),
    ] = None
    weight_decay: fields.WeightDecay = 0.01
    dropout: fields.Dropout = 0.1
    shorter: fields.Shorter = False
    export: fields.Export = True
    seed: fields.Seed = 1337


def score(sources: list[str], targets: list[str], written: list[str]) -> dict[str, float]:
    """ROUGE of the net's summaries, and of the first three sentences of each text."""
    from onecard.engines.rouge import lead_3, rouge

    first = rouge([lead_3(s) for s in sources], targets)
    return rouge(written, targets) | {f"lead_3_{key}": value for key, value in first.items()}


def task(settings: Settings) -> pairs_run.Task:
    """Summarising as a task of reading and writing."""
    from onecard.parts.text_nets import PAIRS, find_net

    usual = "summarize: " if find_net(settings.model, PAIRS, TINY).family == "t5" else ""
    return pairs_run.Task(
        columns=(settings.text_column, settings.summary_column),
        asked=settings.summarise,
        answers="summaries.jsonl",
        prefix=usual if settings.prefix is None else settings.prefix,
        tiny=TINY,
        rate=3e-3,
        generated=reports.GENERATED,
        made=reports.reports,
        score=score,
    )


def cost(settings: Settings) -> Cost:
    """Counted from the shapes; engines/pairs_run.py is what translate and summarise share."""
    return pairs_run.cost(settings, task(settings))


def held(settings: Settings) -> Cost:
    """The Cost without its operations."""
    return pairs_run.cost(settings, task(settings), timed=False)


def choices(settings: Settings) -> tuple[Choice, ...]:
    """What costs only time."""
    return micro_choices(settings, held)


def ladder(settings: Settings) -> tuple[Rung, ...]:
    """What to give up after an out of memory, in order; the batch, the steps, the rows and the rate stay."""
    return micro_ladder(settings, pairs_run.course_of(settings, task(settings)).micro)


def build(settings: Settings) -> Any:
    """The net with fresh weights, its optimizer and synthetic rows of full length, on the current default device."""
    return pairs_run.build(settings, task(settings))


def step(state: Any) -> Any:
    """One optimizer step; engines/text_run.py is the loop."""
    from onecard.engines import text_run

    return text_run.step(state)


def run(settings: Settings, session: Session) -> dict[str, Any]:
    """Train, or go on from the last checkpoint; ROUGE beside lead-3's; summarise what was asked for."""
    return pairs_run.run(settings, session, task(settings))


def needs(settings: Settings) -> tuple[Need, ...]:
    return pairs_run.needs(settings, task(settings), "to train a summariser")


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
        ("T5 base, 512 tokens", {"model": "t5-base", "length": 512}),
        ("BART base, 1,024 tokens", {"model": "bart-base", "length": 1024, "target_length": 128}),
        ("BART large, 1,024 tokens", {"model": "bart-large", "length": 1024, "target_length": 128}),
    ),
    example={"batch": 16, "length": 32, "target_length": 32},
)
