"""A fine-tuning from data to export: look at the data, ask, learn, ask again, keep everything."""

import json
import math
import random
from typing import Any

import msgspec

from onecard.core.session import Session
from onecard.engines import checkpoint
from onecard.engines.conversations import Example, examples, lengths
from onecard.engines.sft import Recipe, cut, load_model, load_tokenizer, source_of, tokenised, trainer_of
from onecard.engines.sft_export import answers, export


def finetune(
    recipe: Recipe,
    session: Session,
    *,
    name: str,
    hub_id: str | None,
    data: str,
    validation: float,
    epochs: float | None,
    gguf: bool,
    asked: int,
    trained_bytes: float,
    model_bytes: float,
) -> dict[str, Any]:
    """The whole run; goes on from the last whole checkpoint in the session's folder. Returns the figures of quality."""
    import torch

    torch.set_num_threads(session.threads)
    torch.set_default_device(session.device)
    source = source_of(name, hub_id)
    with session.phase("prepare"):
        learnt, held_out = split(examples(data, recipe.seed), validation)
        tokenizer = load_tokenizer(source)
        train, evaluation = (tokenised(part, tokenizer) for part in (learnt, held_out))
        _tell_lengths(session, train + evaluation, recipe)
        train, evaluation = cut(train, recipe.sequence), cut(evaluation, recipe.sequence)
        if epochs is not None:
            sequences = len(train)
            if recipe.packing:
                sequences = max(1, sum(len(row["input_ids"]) for row in train) // recipe.sequence)
            steps = max(1, math.ceil(epochs * sequences / recipe.batch))
            recipe = msgspec.structs.replace(recipe, steps=steps, every=max(1, -(-steps // 10)))
        resumed = checkpoint.newest_whole(session.folder)
        if resumed is not None and (told := checkpoint.passed_over(session.folder, resumed)):
            session.emit("log", text=told)
        if resumed is None:
            # weights and optimizer of what is trained; merged model and GGUF at the end
            checkpoint.check_disk(session.folder, 3 * trained_bytes, 2 * model_bytes if gguf else 0.0)
    session.baseline()
    with session.phase("build"):
        model = load_model(source, recipe, session.device)
        trainer = trainer_of(recipe, model, tokenizer, train, evaluation, session.folder, session)
    session.emit(
        "effective",
        settings={
            "method": recipe.method,
            "batch": recipe.batch,
            "micro_batch": recipe.micro,
            "eval_batch": recipe.eval_micro,
            "examples": len(train),
            "steps": recipe.steps,
            "resumed_at": resumed.step if resumed else 0,
        },
    )
    questions = [e for e in held_out if e.prompt][:asked]
    before = _asked_before(session, trainer, tokenizer, questions, recipe)
    place = session.folder / checkpoint.FOLDER
    with session.phase("train"):
        trainer.train(resume_from_checkpoint=str(place / resumed.payload) if resumed else None)
    figures: dict[str, Any] = {"steps": trainer.state.global_step}
    seconds = _step_seconds(trainer)
    if seconds:
        # every sequence is padded to the longest of its part, so tokens are counted as the plan counts them
        session.measured(
            "train_tokens_per_s", recipe.batch * recipe.sequence / seconds, "tokens/s", "padded to the limit"
        )
    if session.stopping:
        return figures
    figures |= _validation(trainer, before)
    with session.phase("evaluate"):
        after = answers(trainer.model, tokenizer, questions)
    _write_answers(session, questions, before["answers"], after)
    found = export(
        session,
        source=source,
        trainer=trainer,
        tokenizer=tokenizer,
        method=recipe.method,
        sequence=recipe.sequence,
        held_out=questions,
        gguf=gguf,
    )
    session.emit("exported", **{k: str(v) for k, v in found.items()})
    return figures | found


def split(found: list[Example], validation: float) -> tuple[list[Example], list[Example]]:
    """(to learn from, held out): at least two and at most 200 are held out."""
    kept = min(max(2, round(len(found) * validation)), 200, len(found) - 1)
    return found[kept:], found[:kept]


def _tell_lengths(session: Session, rows: list[dict[str, list[int]]], recipe: Recipe) -> None:
    found = lengths([len(row["input_ids"]) for row in rows], recipe.sequence)
    session.emit("lengths", **msgspec.to_builtins(found))
    bars = "  ".join(f"{name}: {count}" for name, count in found.buckets.items())
    session.emit("log", text=f"{found.count} examples, median {found.median} tokens, longest {found.longest}   {bars}")
    if found.truncated:
        session.emit(
            "log",
            text=f"{found.truncated} examples ({found.truncated / found.count:.1%}) are longer than {recipe.sequence} tokens "
            f"and lose their end: {found.tokens_lost:.1%} of all tokens",
        )
    if found.longest > 8 * found.median and found.longest > recipe.sequence:
        session.emit(
            "log", text=f"outliers: the longest example has {found.longest / found.median:.0f} times the median"
        )


def _asked_before(
    session: Session, trainer: Any, tokenizer: Any, questions: list[Example], recipe: Recipe
) -> dict[str, Any]:
    """Answers and validation loss of the untrained model; from the file where an earlier start already asked."""
    file = session.folder / "before.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_bytes())
        return found
    random.seed(recipe.seed)
    loss = trainer.evaluate().get("eval_loss")
    with session.phase("evaluate"):
        said = answers(trainer.model, tokenizer, questions)
    found = {"loss": loss, "answers": said}
    checkpoint.write_whole(file, json.dumps(found).encode())
    return found


def _validation(trainer: Any, before: dict[str, Any]) -> dict[str, Any]:
    loss = trainer.evaluate().get("eval_loss")
    history = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    return {
        "validation_loss": loss,
        "validation_loss_before": before["loss"],
        "training_loss_first": history[0] if history else None,
        "training_loss_last": history[-1] if history else None,
    }


def _step_seconds(trainer: Any) -> float | None:
    for callback in trainer.callback_handler.callbacks:
        seconds = getattr(callback, "seconds", None)
        if seconds:
            settled = sorted(seconds[2:] or seconds)
            return float(settled[len(settled) // 2])
    return None


def _write_answers(session: Session, questions: list[Example], before: list[str], after: list[str]) -> None:
    lines = []
    for example, was, now in zip(questions, before, after, strict=True):
        question = example.prompt[-1][1]
        lines.append(json.dumps({"question": question, "before": was, "after": now, "wanted": example.completion}))
        session.emit("log", text=f"asked   {question}\n  before  {was.strip()[:120]}\n  after   {now.strip()[:120]}")
    checkpoint.write_whole(session.folder / "answers.jsonl", ("\n".join(lines) + "\n").encode())
