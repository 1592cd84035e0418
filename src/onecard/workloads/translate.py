"""Translate: fine-tune T5, BART or Marian on pairs of sentences, and translate a file with what was learnt.

Give a CSV, JSONL or Parquet file with a column of sources and one of targets. Without a file the run learns a small made-up
language with its own words, digits for number words and the verb at the end. BLEU stands beside that of the copy of the
source. `--translate FILE` then writes a translation of every row of a file, and a resumed run goes on after the last one;
a trained model without pairs translates the file as it is.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from onecard.core.cost import Cost
from onecard.core.plan import Choice, Rung
from onecard.core.session import Session
from onecard.core.workload import Need, Workload
from onecard.engines import pairs_run, parallel
from onecard.parts import text_fields as fields
from onecard.parts.micro import micro_choices, micro_ladder
from onecard.parts.text_nets import TextNet

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
    translate: Annotated[
        str,
        Meta(
            description="file whose source column is translated, or a .txt of one text a line; without data: as it is"
        ),
    ] = ""
    beams: fields.Beams = 1
    held_out: fields.HeldOut = 0.1
    length: fields.Length = 128
    target_length: Annotated[int, Meta(description="longest translation in tokens", ge=4, le=8192)] = 128
    epochs: fields.Rounds = 5.0
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
    """BLEU of the net's translations, and of the sources taken for translations."""
    from onecard.engines.text_pairs import bleu

    return {"bleu": bleu(written, targets), "copy_bleu": bleu(sources, targets)}


def task(settings: Settings) -> pairs_run.Task:
    """Translation as a task of reading and writing."""
    return pairs_run.Task(
        columns=(settings.source_column, settings.target_column),
        asked=settings.translate,
        answers="translated.jsonl",
        prefix=settings.prefix,
        tiny=TINY,
        rate=3e-3,
        generated=parallel.GENERATED,
        made=parallel.pairs,
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
    """Train, or go on from the last checkpoint; BLEU beside the copy's; translate what was asked for."""
    return pairs_run.run(settings, session, task(settings))


def needs(settings: Settings) -> tuple[Need, ...]:
    return pairs_run.needs(settings, task(settings), "to train a translator")


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
        ("Marian, en-de", {"model": "opus-mt-en-de"}),
        ("T5 base", {"model": "t5-base"}),
        ("BART large", {"model": "bart-large"}),
    ),
    example={"batch": 16, "length": 32, "target_length": 32},
)
