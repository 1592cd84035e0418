"""The shapes of encoders, decoders and encoder-decoders for text: BERT, DistilBERT, GPT-2, T5, BART, Marian.

One value holds what all of them share; parameters are counted from it exactly, and the config of the transformers
library is written from it and read into it, so that the net that is counted is the net that is built.
"""

from functools import cache
from typing import Any

import msgspec

from onecard.core.errors import BadFile, UnknownName

ENCODERS, DECODERS, PAIRS = ("bert", "distilbert"), ("gpt2",), ("t5", "bart", "marian")


class TextNet(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one net."""

    family: str
    vocab: int
    positions: int
    """longest text in tokens; 0 where positions are relative (T5)"""
    encoder: int
    """layers"""
    decoder: int
    width: int
    heads: int
    head_dim: int
    ffn: int
    hub: str = ""
    """where its weights are: id on the hub, or a folder; empty: made from the config alone"""

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def attention_weights(self) -> int:
        """Four projections, with biases except in T5."""
        bias = 0 if self.family == "t5" else 4 * self.width
        return 4 * self.width * self.inner + bias

    @property
    def encoder_layer(self) -> int:
        """Parameters of an encoder layer, or of a GPT-2 layer: attention, feed-forward, two norms."""
        w, f = self.width, self.ffn
        norms = 2 * w if self.family == "t5" else 4 * w
        bias = 0 if self.family == "t5" else f + w
        return self.attention_weights + 2 * w * f + bias + norms

    @property
    def decoder_layer(self) -> int:
        """Parameters of a decoder layer: besides, attention to the encoder and its norm."""
        if self.family == "gpt2":
            return self.encoder_layer
        norm = self.width if self.family == "t5" else 2 * self.width
        return self.encoder_layer + self.attention_weights + norm

    @property
    def table(self) -> int:
        """Tables of words and positions."""
        w = self.width
        extra = {
            "bert": (self.positions + 2) * w + 2 * w,
            "distilbert": self.positions * w + 2 * w,
            "gpt2": self.positions * w,
            "t5": 2 * 32 * self.heads,
            "bart": 2 * (self.positions + 2) * w + 4 * w,
            "marian": 2 * self.positions * w,
        }
        return self.vocab * w + extra[self.family]

    @property
    def layers(self) -> int:
        """Parameters of all layers."""
        return _layers(self)

    def parameters(self, classes: int = 0) -> int:
        """All of them; classes: outputs of a classifier on top, 0 for none (the LM head of the pairs is the word table)."""
        w = self.width
        head = {
            "bert": w * w + w + (w + 1) * classes,
            "distilbert": w * w + w + (w + 1) * classes,
            "gpt2": 2 * w + w * classes,
            "t5": 2 * w,
        }
        return self.layers + self.table + head.get(self.family, 0)


@cache
def _layers(net: TextNet) -> int:
    return net.encoder * net.encoder_layer + net.decoder * net.decoder_layer


def _net(family: str, vocab: int, positions: int, layers: int, width: int, heads: int, ffn: int, hub: str) -> TextNet:
    return TextNet(
        family=family,
        vocab=vocab,
        positions=positions,
        encoder=0 if family == "gpt2" else layers,
        decoder=layers if family in ("gpt2", *PAIRS) else 0,
        width=width,
        heads=heads,
        head_dim=width // heads,
        ffn=ffn,
        hub=hub,
    )


# Each row from the config.json at https://huggingface.co/<last column>
NETS = {
    "distilbert-base": _net("distilbert", 30522, 512, 6, 768, 12, 3072, "distilbert/distilbert-base-uncased"),
    "bert-base": _net("bert", 30522, 512, 12, 768, 12, 3072, "google-bert/bert-base-uncased"),
    "bert-large": _net("bert", 30522, 512, 24, 1024, 16, 4096, "google-bert/bert-large-uncased"),
    "gpt2": _net("gpt2", 50257, 1024, 12, 768, 12, 3072, "openai-community/gpt2"),
    "t5-small": _net("t5", 32128, 0, 6, 512, 8, 2048, "google-t5/t5-small"),
    "t5-base": _net("t5", 32128, 0, 12, 768, 12, 3072, "google-t5/t5-base"),
    "bart-base": _net("bart", 50265, 1024, 6, 768, 12, 3072, "facebook/bart-base"),
    "bart-large": _net("bart", 50265, 1024, 12, 1024, 16, 4096, "facebook/bart-large"),
    "opus-mt-en-de": _net("marian", 58101, 512, 6, 512, 8, 2048, "Helsinki-NLP/opus-mt-en-de"),
}


def find_net(name: str, families: tuple[str, ...], tiny: TextNet) -> TextNet:
    """A net by name ("tiny": this one), by the folder that holds its config.json, for these families.

    Raises UnknownName, BadFile.
    """
    if name == "tiny":
        return tiny
    known = {k: n for k, n in NETS.items() if n.family in families}
    by_hub = {n.hub: n for n in known.values()} | {n.hub.rpartition("/")[2]: n for n in known.values()}
    found = known.get(name) or by_hub.get(name)
    if found is not None:
        return found
    from pathlib import Path

    file = Path(name).expanduser() / "config.json"
    if not file.is_file():
        raise UnknownName("model", name, ("tiny", *known), next=f"models are: tiny, {', '.join(known)}, or a folder")
    net = read_config(file.read_bytes(), str(file))
    if net.family not in families:
        raise BadFile(f"{file} is a {net.family} model", next=f"this work takes {', '.join(families)}")
    return msgspec.structs.replace(net, hub=str(file.parent))


_FIELDS: dict[str, dict[str, str]] = {
    "bert": {"positions": "max_position_embeddings", "encoder": "num_hidden_layers", "width": "hidden_size",
             "heads": "num_attention_heads", "ffn": "intermediate_size"},
    "distilbert": {"positions": "max_position_embeddings", "encoder": "n_layers", "width": "dim", "heads": "n_heads",
                   "ffn": "hidden_dim"},
    "gpt2": {"positions": "n_positions", "decoder": "n_layer", "width": "n_embd", "heads": "n_head", "ffn": "n_inner"},
    "t5": {"encoder": "num_layers", "decoder": "num_decoder_layers", "width": "d_model", "heads": "num_heads",
           "head_dim": "d_kv", "ffn": "d_ff"},
    "bart": {"positions": "max_position_embeddings", "encoder": "encoder_layers", "decoder": "decoder_layers",
             "width": "d_model", "heads": "encoder_attention_heads", "ffn": "encoder_ffn_dim"},
}  # fmt: skip
_FIELDS["marian"] = _FIELDS["bart"]
"""Our name -> the name in the family's config (transformers, configuration_<family>.py)"""


def config_fields(net: TextNet, dropout: float) -> dict[str, Any]:
    """Keywords for the config class of the family. Fresh weights are drawn as wide as BERT's 0.02 at its width of 768."""
    fields = {theirs: getattr(net, ours) for ours, theirs in _FIELDS[net.family].items()}
    fields |= {"vocab_size": net.vocab, "pad_token_id": 0}
    if net.family != "t5":
        fields["init_std" if net.family in PAIRS else "initializer_range"] = 0.02 * (768 / net.width) ** 0.5
    if net.family in ("bart", "marian"):
        fields |= {"decoder_ffn_dim": net.ffn, "decoder_attention_heads": net.heads, "dropout": dropout}
        fields |= {"bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 0, "forced_eos_token_id": 1}
    elif net.family == "t5":
        fields |= {"dropout_rate": dropout, "eos_token_id": 1, "decoder_start_token_id": 0}
    elif net.family == "bert":
        fields |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    elif net.family == "distilbert":
        fields |= {"dropout": dropout, "attention_dropout": dropout, "seq_classif_dropout": dropout}
    else:
        fields |= {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
        fields |= {"bos_token_id": 1, "eos_token_id": 1}
    return fields


def read_config(content: bytes, where: str) -> TextNet:
    """The shape that a config.json tells. Raises BadFile for what is no JSON, no such family, or lacks a number."""
    try:
        config = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadFile(f"{where} is not JSON", why=str(error)) from None
    family = config.get("model_type")
    if family not in _FIELDS:
        raise BadFile(f"{where} is of the kind {family!r}", next=f"known are {', '.join(_FIELDS)}")
    try:
        numbers = {ours: config[theirs] for ours, theirs in _FIELDS[family].items() if config.get(theirs) is not None}
        numbers["vocab"] = config["vocab_size"]
        heads, width = numbers["heads"], numbers["width"]
        whole = {"positions": 0, "encoder": 0, "decoder": numbers.get("encoder", 0) * (family in PAIRS)}
        whole |= {"ffn": 4 * width, "head_dim": width // heads}
        return TextNet(family=family, **{**whole, **numbers})
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise BadFile(f"{where} lacks a number", why=str(error), next="take the config.json of the model") from None
