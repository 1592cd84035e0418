"""Labelled texts around the training of a classifier: read, split, encode, judge, and write down what went wrong."""

import csv
import io
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onecard.core.errors import BadFile
from onecard.core.session import Session
from onecard.engines import rows, text_model
from onecard.engines.bag_of_words import bag_of_words, majority
from onecard.engines.checkpoint import write_whole
from onecard.engines.lengths import lengths, told
from onecard.engines.negation import GENERATED, sentences
from onecard.engines.text_run import Batch, State, evaluate
from onecard.parts.epochs import split
from onecard.parts.text_nets import TextNet

MOST_LABELS = 1000


@dataclass(frozen=True, kw_only=True)
class Row:
    text: str
    label: int
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows to train on and to judge by, with the names of the labels."""

    names: tuple[str, ...]
    train: list[Row]
    held_out: list[Row]
    tokenizer: Any
    lengths: dict[str, Any]

    def inputs(self, part: list[Row], device: str) -> dict[str, Any]:
        """Padded ids, mask and labels of some rows."""
        import torch

        ids = text_model.pad([list(r.ids) for r in part], self.tokenizer.pad_token_id)
        mask = text_model.pad([[1] * len(r.ids) for r in part], 0)
        labels = torch.tensor([r.label for r in part], device="cpu")
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}

    def batch(self, indices: list[int], micro: int, device: str) -> Batch:
        """The micro-batches of one step."""
        parts = [[self.train[i] for i in indices[at : at + micro]] for at in range(0, len(indices), micro)]
        return [(self.inputs(part, device), len(part) / len(indices)) for part in parts]

    def judge(self, state: State, device: str) -> tuple[dict[str, float], list[list[float]]]:
        """Validation loss and accuracy, and the probability of each label for each held-out row."""
        found: list[list[float]] = []
        parts = [self.held_out[at : at + state.course.micro] for at in range(0, len(self.held_out), state.course.micro)]
        loss = evaluate(
            state,
            ((self.inputs(part, device), float(len(part))) for part in parts),
            lambda logits: found.extend(logits.float().softmax(-1).tolist()),
        )
        right = sum(_best(p) == r.label for p, r in zip(found, self.held_out, strict=True))
        return {"validation_loss": loss, "accuracy": right / len(found)}, found

    def baselines(self, seed: int) -> dict[str, float]:
        """What the commonest label and a bag of words reach on the same held-out rows."""
        train, held_out = ([(r.text, r.label) for r in part] for part in (self.train, self.held_out))
        return {
            "majority_accuracy": majority([label for _, label in train], [label for _, label in held_out]),
            "bag_of_words_accuracy": bag_of_words(train, held_out, len(self.names), seed=seed),
        }

    def quality(self, predicted: list[list[float]]) -> dict[str, Any]:
        """Interval of the accuracy, F1, confusions, calibration and what was cut."""
        import torch
        from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_f1_score

        count = len(self.names)
        said = torch.tensor([_best(p) for p in predicted], device="cpu")
        true = torch.tensor([r.label for r in self.held_out], device="cpu")
        low, high = wilson(int((said == true).sum()), len(true))
        confusion = multiclass_confusion_matrix(said, true, num_classes=count).tolist()
        return {
            "accuracy_low": low,
            "accuracy_high": high,
            "macro_f1": float(multiclass_f1_score(said, true, num_classes=count, average="macro")),
            "confusion": {self.names[i]: dict(zip(self.names, row, strict=True)) for i, row in enumerate(confusion)}
            if count <= 20
            else None,
            "mean_confidence": sum(max(p) for p in predicted) / len(predicted),
            "held_out_rows": len(true),
            "cut_share": self.lengths["cut_share"],
        }

    def write_errors(self, file: Path, predicted: list[list[float]]) -> Path:
        """A CSV of the held-out rows that were labelled wrongly, the surest first."""
        wrong = [(max(p), _best(p), r) for p, r in zip(predicted, self.held_out, strict=True) if _best(p) != r.label]
        wrong.sort(key=lambda w: -w[0])
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["text", "label", "predicted", "confidence"])
        table.writerows([r.text, self.names[r.label], self.names[said], f"{sure:.4f}"] for sure, said, r in wrong)
        write_whole(file, out.getvalue().encode())
        return file

    def describe(self, net: Any) -> None:
        """Names of the labels and the padding into the net's config, so that an exported net knows them."""
        net.config.id2label = dict(enumerate(self.names))
        net.config.label2id = {name: i for i, name in enumerate(self.names)}
        net.config.pad_token_id = self.tokenizer.pad_token_id


def prepare(settings: Any, net: TextNet, session: Session) -> Labelled:
    """Read, check, split and encode; tells the lengths before anything is trained. Raises BadFile."""
    read: list[tuple[str, ...]]
    if settings.data:
        read = rows.read(settings.data, (settings.text_column, settings.label_column))
    else:
        read = [*sentences(GENERATED, settings.seed)]
    judged = (
        rows.read(settings.evaluation, (settings.text_column, settings.label_column)) if settings.evaluation else []
    )
    names = _names(settings.labels, read, judged, Path(settings.data).name or "the generated set")
    if judged:
        train, held_out = read, judged
    else:
        if len(read) < 4:
            raise BadFile(
                f"{settings.data} has {len(read)} rows", next="give at least 4, to train on some and judge by others"
            )
        first, second = split(len(read), settings.held_out, settings.seed)
        train, held_out = [read[i] for i in first], [read[i] for i in second]
    if net.hub:
        tokenizer = text_model.load_tokenizer(net)
    else:
        tokenizer = text_model.learn_tokenizer((text for text, _ in train), net.vocab, classify=True)
    ends = {i for i in (tokenizer.eos_token_id, tokenizer.sep_token_id) if i is not None}
    numbers = {name: i for i, name in enumerate(names)}

    def encoded(part: list[Any]) -> tuple[list[Row], list[int]]:
        whole = text_model.encode(tokenizer, [text for text, _ in part])
        kept = [tuple(text_model.cut(ids, settings.length, ends)) for ids in whole]
        made = [Row(text=t, label=numbers[n.strip()], ids=i) for (t, n), i in zip(part, kept, strict=True)]
        return made, [len(ids) for ids in whole]

    train_rows, counts = encoded(train)
    held_rows, _ = encoded(held_out)
    found = lengths(counts, settings.length)
    session.emit("lengths", **found)
    session.emit("log", text=told(found, settings.length), step=0)
    return Labelled(names=names, train=train_rows, held_out=held_rows, tokenizer=tokenizer, lengths=found)


def _names(given: str, read: list[Any], judged: list[Any], where: str) -> tuple[str, ...]:
    allowed = tuple(name.strip() for name in given.split(",") if name.strip())
    counts = Counter(label.strip() for _, label in read)
    if allowed:
        for number, (_, label) in enumerate(read, start=1):
            if label.strip() not in allowed:
                raise BadFile(
                    f'{where}: row {number} has the label "{label.strip()[:60]}"',
                    why=f"the labels may be {', '.join(allowed)}",
                    next="correct the row, or the setting labels",
                )
    if len(counts) < 2:
        raise BadFile(
            f'{where} has one label only: "{next(iter(counts))[:60]}"', next="a classifier needs at least two"
        )
    if not allowed and (len(counts) > MOST_LABELS or len(counts) > max(20, len(read) // 2)):
        raise BadFile(
            f"{where} has {len(counts)} different labels in {len(read)} rows",
            why="this looks like text or numbers, not like labels",
            next="name the right column with --label-column",
        )
    names = allowed or tuple(sorted(counts))
    strange = next((label.strip() for _, label in judged if label.strip() not in names), None)
    if strange is not None:
        raise BadFile(f'the evaluation file has the label "{strange[:60]}", which data has not', next="correct it")
    return names


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, 1927): honest for small counts and near 0 and 1."""
    p = right / count
    middle = p + z * z / (2 * count)
    spread = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return max(0.0, (middle - spread) / (1 + z * z / count)), min(1.0, (middle + spread) / (1 + z * z / count))


def _best(probabilities: list[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)
