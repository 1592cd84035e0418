"""Tokenizers of a synthetic model: as many tokens as the real one and of the same kind, since they take host memory too.

Two kinds. "gpt2" is byte-level BPE (GPT-2, Llama 3, Qwen, Falcon ...): 256 byte letters, and every further token is a
merge of two earlier ones, first all pairs of letters, then triples; so the vocabulary is closed, and any text can be
tokenized. "llama" is SentencePiece with byte fallback (Llama 1 and 2, Mistral, Gemma, Phi-3). The families follow
convert_hf_to_gguf.py of llama.cpp (set_vocab of each model class).
"""

from typing import Any

from onecard.core.model import Model

_SENTENCEPIECE = {"gemma", "gemma2", "gemma3", "gemma3n", "phi3"}
_BYTE, _NORMAL, _CONTROL, _UNKNOWN = 6, 1, 3, 2
"""llama_token_type"""


def is_sentencepiece(model: Model) -> bool:
    """Llama 1 and 2, Mistral and Mixtral have 32,000 (Phi-3 32,064) tokens; Llama 3 has 128,256 and is BPE."""
    return model.family in _SENTENCEPIECE or (model.family == "llama" and model.vocab <= 33_000)


def vocabulary(model: Model) -> dict[str, Any]:
    """The tokenizer.ggml.* metadata."""
    return _sentencepiece(model) if is_sentencepiece(model) else _bpe(model.vocab, model.family)


def letters() -> list[str]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others for 256 + n."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def _bpe(size: int, family: str) -> dict[str, Any]:
    base = letters()[: max(1, size - 1)]
    tokens, merges = list(base), []
    wanted = size - 1  # the last one ends a text
    longer = (f"{a} {b}" for left in (base, _pairs(base)) for a in left for b in base)
    for merge in longer:
        if len(tokens) >= wanted:
            break
        merges.append(merge)
        tokens.append(merge.replace(" ", "", 1))
    tokens.append("<|end|>")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2" if family.startswith("qwen") else "llama-bpe" if family == "llama" else "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [_NORMAL] * (len(tokens) - 1) + [_CONTROL],
        "tokenizer.ggml.merges": merges or ["a b"],
        "tokenizer.ggml.bos_token_id": size - 1,
        "tokenizer.ggml.eos_token_id": size - 1,
        "tokenizer.ggml.add_bos_token": False,
    }


def _pairs(base: list[str]) -> list[str]:
    return [a + b for a in base for b in base]


def _sentencepiece(model: Model) -> dict[str, Any]:
    size = model.vocab
    special = ["<unk>", "<s>", "</s>"]
    tokens = (special + [f"<0x{b:02X}>" for b in range(256)] + [f"▁{n}" for n in range(max(0, size - 259))])[:size]
    if model.family == "phi3":
        tokens[-1] = "<|endoftext|>"  # llama.cpp sets an attribute of this token by name
    kinds = ([_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256 + [_NORMAL] * max(0, size - 259))[:size]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(n) for n in range(size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }
