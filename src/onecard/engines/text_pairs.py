"""Pairs of texts around the training of an encoder-decoder: read, encode, write, and judge what was written."""

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile, NoRoom
from onecard.core.session import Session
from onecard.engines import text_model
from onecard.engines.checkpoint import write_whole
from onecard.engines.lengths import lengths, told
from onecard.engines.text_run import Batch, State, arithmetic, evaluate
from onecard.parts.epochs import split
from onecard.parts.text_nets import TextNet


@dataclass(frozen=True, kw_only=True)
class Pair:
    source: str
    target: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows to train on and to judge by."""

    train: list[Pair]
    held_out: list[Pair]
    tokenizer: Any
    ends: set[int]
    prefix: str
    length: int
    target_length: int
    beams: int
    cut_share: float

    def inputs(self, part: list[Pair], device: str) -> dict[str, Any]:
        """Padded ids, mask and labels (-100 where nothing is asked)."""
        return {
            **self.read([list(p.ids) for p in part], device),
            "labels": text_model.pad([list(p.labels) for p in part], -100).to(device),
        }

    def read(self, ids: list[list[int]], device: str) -> dict[str, Any]:
        """Padded ids and mask of what the encoder reads."""
        mask = text_model.pad([[1] * len(row) for row in ids], 0)
        return {
            "input_ids": text_model.pad(ids, self.tokenizer.pad_token_id).to(device),
            "attention_mask": mask.to(device),
        }

    def batch(self, indices: list[int], micro: int, device: str) -> Batch:
        """The micro-batches of one step, each weighed by its target tokens."""
        parts = [[self.train[i] for i in indices[at : at + micro]] for at in range(0, len(indices), micro)]
        sizes = [sum(len(p.labels) for p in part) for part in parts]
        return [(self.inputs(part, device), size / sum(sizes)) for part, size in zip(parts, sizes, strict=True)]

    def loss(self, state: State, device: str) -> dict[str, float]:
        """Mean loss in nats per target token over the held-out pairs."""
        micro = state.course.micro
        parts = [self.held_out[at : at + micro] for at in range(0, len(self.held_out), micro)]
        sizes = (float(sum(len(p.labels) for p in part)) for part in parts)
        found = evaluate(state, zip((self.inputs(p, device) for p in parts), sizes, strict=True), lambda logits: None)
        return {"validation_loss": found}

    def encode(self, texts: list[str]) -> list[list[int]]:
        """What the encoder reads of these texts, cut to its length."""
        whole = text_model.encode(self.tokenizer, [self.prefix + t for t in texts])
        return [text_model.cut(ids, self.length, self.ends) for ids in whole]

    def write(self, state: State, texts: list[str], device: str) -> list[str]:
        """The net's own output for some texts, `micro` texts at a time."""
        import torch

        state.net.eval()
        found: list[str] = []
        ids, micro = self.encode(texts), state.course.micro
        with torch.no_grad(), arithmetic(state):
            for at in range(0, len(ids), micro):
                out = state.net.generate(
                    **self.read(ids[at : at + micro], device),
                    max_new_tokens=self.target_length,
                    num_beams=self.beams,
                    do_sample=False,
                )
                found += self.tokenizer.batch_decode(out, skip_special_tokens=True)
        state.net.train()
        return [" ".join(text.split()) for text in found]


def prepare(
    settings: Any,
    net: TextNet,
    session: Session,
    *,
    read: list[tuple[str, ...]],
    asked: list[str],
    prefix: str,
    most: int,
) -> Pairs:
    """Split and encode; tells the lengths before anything is trained. Raises BadFile for too few rows.

    read: (source, target) to learn and to judge by, none where the model is used as it is; asked: what is written from
    afterwards; most: rows that are held out at most.
    """
    if read and len(read) < 4:
        raise BadFile(
            f"{settings.data} has {len(read)} rows", next="give at least 4, to train on some and judge by others"
        )
    first, second = split(len(read), settings.held_out, settings.seed, most=most) if read else ([], [])
    if net.hub:
        tokenizer = text_model.load_tokenizer(net)
    else:
        tokenizer = text_model.learn_tokenizer((t for i in first for t in read[i]), net.vocab, classify=False)
    ends = {tokenizer.eos_token_id}
    sources = text_model.encode(tokenizer, [prefix + row[0] for row in read])
    targets = text_model.encode_targets(tokenizer, [row[1] for row in read])
    cut_share = 0.0
    if read:
        found = lengths([len(ids) for ids in sources], settings.length)
        session.emit("lengths", **found)
        session.emit("log", text=told(found, settings.length, "sources"), step=0)
        below = lengths([len(ids) for ids in targets], settings.target_length)
        session.emit("log", text=told(below, settings.target_length, "targets"), step=0)
        cut_share = found["cut_share"]
    if asked:
        new = lengths([len(ids) for ids in text_model.encode(tokenizer, [prefix + t for t in asked])], settings.length)
        session.emit("log", text=told(new, settings.length, "texts to write from"), step=0)
    pairs = [
        Pair(
            source=row[0],
            target=row[1],
            ids=tuple(text_model.cut(ids, settings.length, ends)),
            labels=tuple(text_model.cut(labels, settings.target_length, ends)),
        )
        for row, ids, labels in zip(read, sources, targets, strict=True)
    ]
    return Pairs(
        train=[pairs[i] for i in first],
        held_out=[pairs[i] for i in second],
        tokenizer=tokenizer,
        ends=ends,
        prefix=prefix,
        length=settings.length,
        target_length=settings.target_length,
        beams=settings.beams,
        cut_share=cut_share,
    )


def bleu(said: list[str], true: list[str]) -> float:
    """Corpus BLEU-4 in percent (torchmetrics: words split at blanks, no smoothing)."""
    from torchmetrics.functional.text import bleu_score

    return 100 * float(bleu_score(said, [[t] for t in true]))


def write_table(file: Path, pairs: list[Pair], said: list[str]) -> Path:
    """A CSV of held-out sources, what was asked for, and what the net wrote."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["source", "target", "written"])
    table.writerows([p.source, p.target, w] for p, w in zip(pairs, said, strict=True))
    write_whole(file, out.getvalue().encode())
    return file


class Answer(msgspec.Struct):
    """One line of the file that batch inference writes."""

    row: int
    source: str
    written: str


def answer_file(session: Session, pairs: Pairs, state: State, texts: list[str], file: Path) -> int:
    """Write an answer to every text, one JSON line each, in order; goes on after the last whole line of an earlier start.

    Half a line, left by a kill, is cut off before more is written: no text is answered twice and none is lost. Returns
    the number of answers in the file. Raises BadFile where the earlier answers are to other texts, NoRoom.
    """
    done = _answered(file, texts)
    step = max(1, state.course.micro)
    start, before = time.perf_counter(), done
    try:
        with file.open("ab") as out:
            for at in range(done, len(texts), step):
                if session.stopping:
                    break
                part = texts[at : at + step]
                written = pairs.write(state, part, session.device)
                made = [Answer(at + i, text, w) for i, (text, w) in enumerate(zip(part, written, strict=True), start=1)]
                out.write(b"".join(msgspec.json.encode(line) + b"\n" for line in made))
                out.flush()
                done = at + len(part)
                session.progress(done, len(texts), "rows")
    except OSError as error:
        raise NoRoom(
            f"{file.name} could not be written past row {done}",
            why=error.strerror or str(error),
            next="free disk space, then onecard resume: the rows before stay and are not written again",
        ) from None
    if done > before:
        session.measured("write_rows_per_s", (done - before) / (time.perf_counter() - start), "rows/s")
    return done


def _answered(file: Path, texts: list[str]) -> int:
    """Whole answers of an earlier start; what follows the last of them is cut off."""
    if not file.is_file():
        return 0
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with file.open("rb+") as handle:
            handle.truncate(end)
    lines = content[:end].splitlines()
    for number, line in enumerate(lines, start=1):
        answer = msgspec.json.decode(line, type=Answer)
        if number > len(texts) or answer.source != texts[number - 1]:
            raise BadFile(
                f"{file.name} answers another text in row {number}",
                why="the file of texts was changed since this run was started",
                next="put it back as it was and resume, or start a new run",
            )
    return len(lines)
