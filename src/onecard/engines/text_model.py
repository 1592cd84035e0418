"""Builds text nets of the transformers library and their tokenizers: from a shape alone, from a folder, from the hub.

Without weights a net starts at random (that is what `prove` and `trace` use, and the tiny models); its tokenizer is then
learnt from the texts themselves, so that nothing has to be downloaded.
"""

from collections.abc import Iterable
from typing import Any

from onecard.core.errors import OnecardError, Unavailable
from onecard.parts.text_nets import TextNet, config_fields

PAD, END, UNKNOWN, START = "<pad>", "</s>", "<unk>", "<s>"


def _quiet() -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_libraries(net: TextNet) -> None:
    """Import what the net and its judges come from, so that a run's memory does not count it as the work's."""
    import importlib

    _quiet()
    importlib.import_module(f"transformers.models.{net.family}.modeling_{net.family}")
    importlib.import_module("tokenizers")
    importlib.import_module("torchmetrics.functional.text")


def build_net(net: TextNet, *, classes: int, dropout: float, checkpointing: bool, weights: bool = False) -> Any:
    """The net on the current default device, in training mode; classes: outputs of a classifier, 0 for a pair net.

    weights: with the trained weights of its hub id or folder. Raises Unavailable.
    """
    import torch

    transformers = _quiet()
    kind = transformers.AutoModelForSequenceClassification if classes else transformers.AutoModelForSeq2SeqLM
    more = {"num_labels": classes} if classes else {}
    if weights and net.hub:
        built = _load(kind, net.hub, dtype=torch.float32, **more)
        built = built.to(torch.get_default_device())
        for module in built.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
    else:
        config = transformers.AutoConfig.for_model(net.family, **config_fields(net, dropout), **more)
        built = kind.from_config(config, dtype=torch.float32)
    if built.config.pad_token_id is None:
        built.config.pad_token_id = built.config.eos_token_id
    built.config.use_cache = not classes
    if checkpointing:
        built.gradient_checkpointing_enable({"use_reentrant": False})
    return built.train()


def _load(kind: Any, where: str, **options: Any) -> Any:
    """From the local cache or a folder, else from the network; one clear error where neither has it."""
    try:
        return kind.from_pretrained(where, local_files_only=True, **options)
    except (OSError, ValueError):
        pass
    try:
        return kind.from_pretrained(where, **options)
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"{where} cannot be loaded",
            why=str(error).strip().split("\n")[0][:300],
            next="check the network, give --model a folder with its files, or take --model tiny (no download)",
        ) from None


def load_tokenizer(net: TextNet) -> Any:
    """The tokenizer that belongs to the weights of a net."""
    tokenizer = _load(_quiet().AutoTokenizer, net.hub)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def learn_tokenizer(texts: Iterable[str], vocab: int, *, classify: bool) -> Any:
    """Byte-level BPE learnt from the texts; any text can be written with it. Rows end with </s>, classified ones begin with <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    learnt = Tokenizer(models.BPE(unk_token=UNKNOWN))
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, END, UNKNOWN, START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learnt.train_from_iterator(texts, trainer=trainer)
    marks = [(t, learnt.token_to_id(t)) for t in (START, END)]
    learnt.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}" if classify else f"$A {END}", special_tokens=marks
    )
    return _quiet().PreTrainedTokenizerFast(
        tokenizer_object=learnt, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, bos_token=START
    )


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of whole texts, nothing cut."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=True, verbose=False)["input_ids"]
    return ids


def cut(ids: list[int], limit: int, ends: set[int]) -> list[int]:
    """The first `limit` tokens, the closing mark kept."""
    if len(ids) <= limit:
        return ids
    return [*ids[: limit - 1], ids[-1]] if ids[-1] in ends else ids[:limit]


def pad(rows: list[list[int]], value: int) -> Any:
    """A tensor (rows, longest) on the CPU, filled up on the right."""
    import torch

    longest = max(len(r) for r in rows)
    return torch.tensor([r + [value] * (longest - len(r)) for r in rows], dtype=torch.long, device="cpu")


def export(net: Any, tokenizer: Any, folder: Any, sample: dict[str, Any]) -> float:
    """Write net and tokenizer as transformers does, load them back, and compare: the largest difference of the logits.

    sample: inputs on the net's device. Raises OnecardError where what was loaded says something else.
    """
    import torch

    net.eval()
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    again = type(net).from_pretrained(folder, dtype=torch.float32).to(net.device).eval()
    with torch.no_grad():
        difference = float((net(**sample).logits - again(**sample).logits).abs().max())
    if difference > 1e-3:
        raise OnecardError(
            f"the exported model differs by {difference:.3g}", next="report this; the checkpoints are whole"
        )
    return difference


def encode_targets(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of what is to be written: Marian has a vocabulary of its own for that side."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(text_target=texts, add_special_tokens=True, verbose=False)["input_ids"]
    return ids
