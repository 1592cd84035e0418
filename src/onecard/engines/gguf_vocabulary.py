"""The tokenizer of a model folder as GGUF keys: tokens, their types, merges, special tokens, chat template.

llama.cpp cuts text before it applies merges, and knows the ways to cut by name only. The name is found from
the pattern in tokenizer.json; a pattern that is not in the table is refused, since a wrong cut gives other tokens for
the same text and a model that seems to have become stupid.
"""

from pathlib import Path
from typing import Any

import msgspec

from onecard.core.errors import BadFile

_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CUTS = {_LLAMA3: "llama-bpe", _QWEN2: "qwen2"}
"""Split pattern of tokenizer.json -> llama.cpp's name (llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_*)"""


def add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    """Write the tokenizer of `folder` to a gguf.GGUFWriter; rows of the embedding beyond its tokens become unused tokens.

    Raises BadFile for a tokenizer that is no byte-level BPE with a known cut.
    """
    import gguf

    file = folder / "tokenizer.json"
    try:
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise BadFile(
            f"{file} cannot be read", why=str(error), next="give a model folder with its tokenizer.json"
        ) from None
    cut = _cut(content, file)
    tokens = {number: token for token, number in content["model"]["vocab"].items()}
    types = dict.fromkeys(tokens, gguf.TokenType.NORMAL)
    for added in content.get("added_tokens", []):
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    if max(tokens) >= size:
        raise BadFile(
            f"{file} has token {max(tokens)}, the model only {size} rows", next="use the model's own tokenizer"
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types([types.get(i, gguf.TokenType.UNUSED) for i in range(size)])
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=size)
    if not special.merges:
        # llama.cpp insists on a list of merges. This one leads to no token, so it never applies.
        special.merges = ["Ā Ā"]
    special.add_to_gguf(writer, quiet=True)


def _cut(content: dict[str, Any], file: Path) -> str:
    cutter = content.get("pre_tokenizer") or {}
    steps = cutter.get("pretokenizers", [cutter])
    if content["model"].get("type") != "BPE" or not any(s.get("type") == "ByteLevel" for s in steps):
        raise BadFile(
            f"{file} is no byte-level BPE tokenizer",
            why=f"its model is {content['model'].get('type')}; only byte-level BPE is converted here",
            next="use the model folder itself, or llama.cpp's own converter",
        )
    patterns = [s["pattern"].get("Regex", "") for s in steps if s.get("type") == "Split"]
    if not patterns:
        return "gpt-2"
    if len(patterns) == 1 and patterns[0] in _CUTS:
        return _CUTS[patterns[0]]
    raise BadFile(
        f"{file} cuts text by a pattern that has no known name in GGUF",
        why=f"the pattern is {patterns[0]}",
        next="use the model folder itself, or llama.cpp's own converter",
    )
