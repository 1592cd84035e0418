"""A conversation on transformers: weights from a folder or the hub, answers streamed as they come."""

import statistics
from pathlib import Path
from typing import Any

from onecard.core.errors import BadSetting, Unavailable
from onecard.core.require import require
from onecard.core.session import Session
from onecard.engines import heap
from onecard.engines.chat_transformers import Clock, stopping
from onecard.engines.repeats import spread
from onecard.engines.synthetic_torch import compute_dtype


def run(settings: Any, session: Session) -> dict[str, Any]:
    """Talk to a model from a folder or the hub."""
    torch = require("torch", "to run transformers", "llm")
    if session.options.get("serve"):
        raise BadSetting(
            "transformers has no server here", next="--engine llama.cpp serves the OpenAI interface on 127.0.0.1"
        )
    torch.set_num_threads(session.threads)
    net, tokenizer = _load(settings, session)
    messages: list[dict[str, str]] = []
    if session.options.get("system"):
        messages.append({"role": "system", "content": str(session.options["system"])})
    rates: list[float] = []
    tokens = 0

    def answer(text: str) -> None:
        nonlocal tokens
        messages.append({"role": "user", "content": text})
        reply, clock = _answer(net, tokenizer, messages, settings, session)
        messages.append({"role": "assistant", "content": reply})
        tokens += len(clock.times)
        if clock.rate is not None:
            rates.append(clock.rate)

    prompt = session.options.get("prompt")
    if prompt is not None:
        answer(str(prompt))
    else:
        session.emit("turn")
        for command in session.asked():
            answer(str(command.get("say", "")))
            if session.stopping:
                break
            session.emit("turn")
    if rates:
        session.measured("decode_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))
    return {"tokens": tokens}


def _load(settings: Any, session: Session) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    quant = (settings.quant or "bf16").lower()
    dtype = compute_dtype(quant, session.device)
    packed = None
    if quant == "nf4":
        packed = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    elif quant == "int8":
        packed = BitsAndBytesConfig(load_in_8bit=True)
    name = settings.model if Path(settings.model).exists() else _hub_id(settings.model)
    session.baseline()
    try:
        with heap.apart(packed is not None), session.phase("load"):
            tokenizer = AutoTokenizer.from_pretrained(name)
            net = AutoModelForCausalLM.from_pretrained(
                name, dtype=dtype, quantization_config=packed, device_map={"": torch.device(session.device)}
            )
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"{name} cannot be loaded",
            why=str(error).strip().splitlines()[0],
            next="check the network, or give a folder",
        ) from None
    return net.eval(), tokenizer


def _hub_id(name: str) -> str:
    from onecard.catalog import find_model

    return find_model(name).hub_id or name


def _answer(
    net: Any, tokenizer: Any, messages: list[dict[str, str]], settings: Any, session: Session
) -> tuple[str, Clock]:
    import torch

    if tokenizer.chat_template:
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    else:
        ids = tokenizer("\n".join(m["content"] for m in messages), return_tensors="pt")
    ids = ids.to(net.device)
    given = ids["input_ids"].shape[1]
    room = (settings.context or net.config.max_position_embeddings) - given
    if room < 1:
        raise BadSetting(f"the conversation has {given} tokens", next=f"give a --context above {settings.context}")
    pieces: list[int] = []
    shown = ""

    def each(value: Any) -> bool:
        nonlocal shown
        pieces.extend(value.view(-1).tolist())
        text = tokenizer.decode(pieces, skip_special_tokens=True)
        # a letter of several tokens decodes to a replacement sign until it is whole
        if not text.endswith("\ufffd") and len(text) > len(shown):
            session.emit("text", text=text[len(shown) :])
            shown = text
        return session.stopping

    clock = Clock(each)
    count = min(room, int(session.options.get("tokens") or room))
    with session.phase("answer"), torch.inference_mode():
        net.generate(**ids, max_new_tokens=count, streamer=clock, stopping_criteria=stopping(clock))
    session.emit(
        "answered",
        prompt_tokens=given,
        output_tokens=len(clock.times),
        prefill_tokens_per_s=given / clock.first if clock.times else None,
        decode_tokens_per_s=clock.rate,
        first_token_seconds=clock.first if clock.times else None,
    )
    return shown, clock
