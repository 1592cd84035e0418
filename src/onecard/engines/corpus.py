"""A folder of text becomes a line of tokens: read, learn a vocabulary, encode, and cut windows out of it.

The default corpus is real and on every machine: the source of Python's own standard library. Documents are shuffled
once by the seed and joined with an end mark; the last tenth is for validation. Which windows a step sees follows from
(seed, step) alone, so a run that is killed and resumed, or that changes its micro-batch, sees the same data.

The vocabulary is byte-level BPE (GPT-2 paper, section 2.2): any text can be written with it. With no merges it is the
256 bytes, which for plain English text are the characters.
"""

import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from onecard.core.errors import BadFile
from onecard.engines.checkpoint import write_whole

END = "<|endoftext|>"
BYTES = 256
_TRAIN_ON = 8_000_000
"""characters that the vocabulary is learned from; more changes it little and costs time before the first step"""
VALIDATION_SHARE = 0.1
_TOGETHER = 16
"""documents that are encoded at once: the library's own record of a document is many times its text"""
_PART = 1 << 18
"""tokens whose pairs are counted at once"""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Encoded text. train and validation are one-dimensional tensors of uint16 or int32, mapped from the file."""

    tokenizer: Any
    train: Any
    validation: Any
    documents: int
    characters: int
    tokens: int
    bytes_per_token: float


def standard_library() -> Path:
    """Where Python keeps its own source."""
    return Path(sysconfig.get_paths()["stdlib"])


def files(source: str) -> list[Path]:
    """The text files of a corpus in a stable order: one file, or all of a folder that are text and not hidden.

    Empty means the standard library, without its tests and character tables. Raises BadFile.
    """
    root = Path(source).expanduser() if source else standard_library()
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise BadFile(f"there is no file or folder {root}", next="give --corpus a text file or a folder of text files")
    pattern = "*" if source else "*.py"
    skipped = set() if source else {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}
    found = []
    for file in sorted(root.rglob(pattern)):
        inside = file.relative_to(root).parts
        if file.is_file() and not skipped & set(inside) and not any(p.startswith(".") for p in inside):
            found.append(file)
    return found


def read(file: Path) -> str | None:
    """The text of a file; None where it is not UTF-8 text."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadFile(f"{file} cannot be read", why=str(error), next="make it readable, or take it out") from None
    if b"\0" in content[:8192]:
        return None
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def documents(source: str, seed: int) -> Iterator[str]:
    """Non-empty texts of a corpus, in an order that follows from the seed."""
    order = files(source)
    random.Random(seed).shuffle(order)
    for file in order:
        text = read(file)
        if text and text.strip():
            yield text


def learn_tokenizer(source: str, seed: int, vocab: int) -> Any:
    """A byte-level BPE tokenizer of at most `vocab` tokens, end mark included. Raises BadFile for an empty corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # The GPT-2 split, which GGUF knows by the name "gpt-2": the exported file must cut text just as training did.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    enough = _TRAIN_ON if vocab > BYTES + 1 else 1
    tokenizer.train_from_iterator(_some(source, seed, enough), trainer=trainer)
    return tokenizer


def _some(source: str, seed: int, enough: int) -> Iterator[str]:
    total = 0
    for text in documents(source, seed):
        yield text
        total += len(text)
        if total >= enough:
            return
    if total == 0:
        raise BadFile(
            f"there is no text in {source or standard_library()}",
            why="every file is empty, or is not UTF-8 text",
            next="give --corpus a file or folder with text in it",
        )


def prepare(source: str, folder: Path, *, seed: int, vocab: int, context: int) -> Corpus:
    """Encode a corpus into `folder`, or open what an earlier start of the same run left there.

    Raises BadFile where there is no text, or less than two windows of it.
    """
    from tokenizers import Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    facts_file, tokens_file, tokenizer_file = (folder / n for n in ("corpus.json", "tokens.bin", "tokenizer.json"))
    if not facts_file.is_file():
        tokenizer = learn_tokenizer(source, seed, vocab)
        write_whole(tokenizer_file, tokenizer.to_str().encode())
        facts = _encode(tokenizer, source, seed, tokens_file)
        # Written last: it says that the other two are whole.
        write_whole(facts_file, json.dumps(facts).encode())
    facts = json.loads(facts_file.read_bytes())
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    return _open(tokenizer, tokens_file, facts, context)


def _encode(tokenizer: Any, source: str, seed: int, target: Path) -> dict[str, int]:
    import torch

    kind = getattr(torch, _kind(tokenizer.get_vocab_size()))
    encode = _encoder(tokenizer)
    count = characters = size = documents_seen = 0
    part = target.with_suffix(".part")
    with part.open("wb") as out:
        for batch in _batches(documents(source, seed), _TOGETHER):
            ids = encode(batch)
            out.write(ids.to(kind).numpy().tobytes())
            count += len(ids)
            characters += sum(map(len, batch))
            size += sum(len(text.encode()) for text in batch)
            documents_seen += len(batch)
    part.replace(target)
    return {"tokens": count, "characters": characters, "bytes": size, "documents": documents_seen}


def _encoder(tokenizer: Any) -> Callable[[list[str]], Any]:
    """Texts -> their tokens and end marks in one line of int64. Without merges a table of bytes does it, at once."""
    import torch
    from tokenizers import pre_tokenizers

    end = tokenizer.token_to_id(END)

    def by_merges(texts: list[str]) -> Any:
        ids = [i for encoded in tokenizer.encode_batch_fast(texts) for i in (*encoded.ids, end)]
        return torch.tensor(ids, dtype=torch.int64, device="cpu")

    if tokenizer.get_vocab_size() > BYTES + 1:
        return by_merges
    # ByteLevel writes byte b as the b-th letter of GPT-2's byte alphabet: printable bytes as themselves, others from U+0100 on.
    letters = {ord(c): c for c in pre_tokenizers.ByteLevel.alphabet() if ord(c) < BYTES}
    others = iter(sorted(c for c in pre_tokenizers.ByteLevel.alphabet() if ord(c) >= BYTES))
    table = torch.tensor([tokenizer.token_to_id(letters.get(b) or next(others)) for b in range(BYTES)], device="cpu")

    def by_bytes(texts: list[str]) -> Any:
        lines = [torch.frombuffer(bytearray(t.encode()), dtype=torch.uint8) for t in texts]
        mark = torch.tensor([end], device="cpu")
        return torch.cat([part for line in lines for part in (table[line.long()], mark)])

    return by_bytes


def _batches(texts: Iterator[str], count: int) -> Iterator[list[str]]:
    while batch := list(islice(texts, count)):
        yield batch


def _kind(vocab: int) -> str:
    return "uint16" if vocab <= 65536 else "int32"


def _open(tokenizer: Any, file: Path, facts: dict[str, int], context: int) -> Corpus:
    import torch

    count = facts["tokens"]
    cut = count - int(count * VALIDATION_SHARE)
    if min(cut, count - cut) < context + 2:
        raise BadFile(
            f"{count:,} tokens of text are too few for windows of {context} tokens",
            why=f"a tenth of them, {count - cut:,}, is kept for validation",
            next="give --corpus more text, or a smaller --context",
        )
    dtype = getattr(torch, _kind(tokenizer.get_vocab_size()))
    tokens = torch.from_file(str(file), shared=False, size=count, dtype=dtype, device="cpu")
    return Corpus(
        tokenizer=tokenizer,
        train=tokens[:cut],
        validation=tokens[cut:],
        documents=facts["documents"],
        characters=facts["characters"],
        tokens=count,
        bytes_per_token=facts["bytes"] / count,
    )


def windows(tokens: Any, count: int, context: int, *, seed: int, step: int) -> Any:
    """`count` windows of context + 1 tokens from random places, (count, context + 1) of int64; by (seed, step) alone."""
    import torch

    # torch's generator looks at 32 bits of a seed: a large odd factor keeps the seeds' rows of steps apart.
    generator = torch.Generator(device="cpu").manual_seed((seed * 2_654_435_761 + step) % 2**32)
    starts = torch.randint(len(tokens) - context, (count,), generator=generator, device="cpu").tolist()
    return torch.stack([tokens[s : s + context + 1] for s in starts]).to(torch.int64)


def spread(tokens: Any, count: int, context: int) -> Any:
    """At most `count` windows at even distances over all of the text, (count, context + 1): the same for every model."""
    import torch

    room = len(tokens) - context - 1
    count = max(1, min(count, room // context))
    starts = [i * room // count for i in range(count)]
    return torch.stack([tokens[s : s + context + 1] for s in starts]).to(torch.int64)


def bigram_loss(train: Any, held_out: Any, vocab: int) -> float:
    """Nats per token of the best smoothed bigram table: what knowing only the previous token is worth.

    p(b|a) = (count(a, b) + s u(b)) / (count(a) + s), u the smoothed unigram share, s the best of a few *on the held-out
    windows themselves*, so that the baseline is rather too good than too bad. held_out: windows as from `spread`.
    """
    import torch

    before, after = held_out[:, :-1].flatten(), held_out[:, 1:].flatten()
    # Only the held-out pairs are asked for, so only they are counted, a part of the text at a time: a long text takes no more memory.
    wanted, place = torch.unique(before * vocab + after, return_inverse=True)
    counts = torch.zeros(len(wanted), dtype=torch.int64, device="cpu")
    single = torch.zeros(vocab, dtype=torch.int64, device="cpu")
    for start in range(0, len(train), _PART):
        line = train[start : start + _PART + 1].to(torch.int64)  # one more: the pair that two parts share
        single += torch.bincount(line[:_PART], minlength=vocab)
        pairs = line[:-1] * vocab + line[1:]
        at = torch.searchsorted(wanted, pairs).clamp(max=len(wanted) - 1)
        counts += torch.bincount(at[wanted[at] == pairs], minlength=len(wanted))
    single = single.double()
    unigram = (single + 1) / (single.sum() + vocab)
    seen = counts[place].double()
    losses: list[float] = [
        -(((seen + s * unigram[after]) / (single[before] + s)).log().mean().item()) for s in (0.3, 1.0, 3.0, 10.0, 30.0)
    ]
    return min(losses)
