"""Around the training loop of nets/gpt.py: what a step reads, how the net is judged, what it writes, how it leaves."""

import math
from collections.abc import Callable
from typing import Any

from onecard.core.errors import BadSetting
from onecard.core.session import Session
from onecard.engines import checkpoint
from onecard.engines.corpus import Corpus, windows
from onecard.engines.course import LossLog
from onecard.engines.export_gguf import convert
from onecard.engines.export_llama import write_llama


def reader(text: Corpus, batch: int, context: int, *, seed: int, device: str) -> Callable[[int], Any]:
    """step -> its tokens (batch, context + 1) on the device; from pinned memory on a GPU, so that the copy overlaps."""

    def read(step: int) -> Any:
        tokens = windows(text.train, batch, context, seed=seed, step=step)
        return tokens.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tokens.to(device)

    return read


def restore(session: Session, net: Any, optimizer: Any) -> dict[str, Any] | None:
    """Put net and optimizer back to the last whole checkpoint and return all of it; None where there is none.

    Raises BadSetting where it is the checkpoint of another net, BadFile where all are damaged.
    """
    found = checkpoint.load(session.folder, device=session.device)
    if found is None:
        return None
    made, saved = found
    if told := checkpoint.passed_over(session.folder, made):
        session.emit("log", text=told)
    try:
        net.load_state_dict(saved["net"])
    except RuntimeError as error:
        raise BadSetting(
            f"the checkpoint of step {made.step} is of another net",
            why=str(error).strip().splitlines()[-1].strip(),
            next="resume with the settings it was started with, or start a new run",
        ) from None
    optimizer.load_state_dict(saved["optimizer"])
    result: dict[str, Any] = saved
    return result


def evaluate(net: Any, held_out: Any, micro: int, device: str) -> float:
    """Mean loss in nats per token over the held-out windows (windows, context + 1), `micro` of them at a time."""
    import torch

    net.eval()
    total = 0.0
    with torch.no_grad():
        for part in held_out.split(micro):
            tokens = part.to(device)
            total += float(net(tokens[:, :-1], tokens[:, 1:])) * len(part)
    net.train()
    return total / len(held_out)


def write_sample(
    session: Session, net: Any, text: Corpus, start: str, *, step: int, seed: int, loss: float, bigram: float
) -> None:
    """How good the net is by now and what it writes, to the parent and to samples.txt."""
    import torch

    ids = text.tokenizer.encode(start).ids or [0]
    tokens = torch.tensor([ids[-net.shape.context :]], device=session.device)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    net.eval()
    written = text.tokenizer.decode(net.generate(tokens, 64, generator=generator)[0].tolist())
    net.train()
    shown = " ".join(written.split())[:100]
    session.emit("log", text=f"step {step}: validation loss {loss:.3f} (bigram {bigram:.3f})  {shown}", step=step)
    with (session.folder / "samples.txt").open("a", encoding="utf-8") as out:
        out.write(f"--- step {step}\n{written}\n")


def export(session: Session, net: Any, text: Corpus, *, at: int) -> str:
    """The best net as a Llama folder with a GGUF file that was read back and compared; the file's path."""
    with session.phase("export"):
        top = checkpoint.best(session.folder)
        if top is not None and top.step != at:
            found = checkpoint.load(session.folder, device="cpu", step=top.step)
            if found is not None:
                net.load_state_dict(found[1]["net"])
        folder = session.folder / "export"
        write_llama(net, text.tokenizer, folder)
        file = convert(folder, folder / "model-f16.gguf", name="onecard-gpt")
    session.emit("exported", folder=str(folder), gguf=str(file))
    return str(file)


def figures(
    session: Session, text: Corpus, log: LossLog, *, bigram: float, step: int, tokens_per_step: int
) -> dict[str, Any]:
    """What the run came to: losses in nats per token, bits per byte (comparable between tokenizers), rates."""
    top = checkpoint.best(session.folder)
    loss = top.figures["validation_loss"] if top else None
    seconds, tokens = log.step_seconds, step * tokens_per_step
    return {
        "validation_loss": loss,
        "bigram_loss": bigram,
        "nats_below_bigram": None if loss is None else bigram - loss,
        "bits_per_byte": None if loss is None else loss / math.log(2) / text.bytes_per_token,
        "steps": step,
        "tokens": tokens,
        "epochs": tokens / len(text.train),
        "tokens_per_s": tokens_per_step / seconds if seconds else None,
        "mfu": log.flops_per_step / seconds / log.peak if seconds and log.peak else None,
    }
