"""Chat on transformers: the same `generate` for a proof with synthetic weights and for a conversation with real ones."""

import statistics
import time
from itertools import pairwise
from typing import Any

from onecard.core.model import Model
from onecard.core.require import require
from onecard.core.session import Session
from onecard.core.units import show_size
from onecard.engines import heap
from onecard.engines.repeats import repeated, spread
from onecard.engines.synthetic_torch import QUANTISED, compute_dtype, empty_model, fill
from onecard.engines.transformers_config import config_of

FILLING = 60.0
"""seconds that filling the whole context may take"""


class Clock:
    """A streamer for `generate`: the moment of every token, and each token to `each`; True from it stops."""

    def __init__(self, each: Any = None) -> None:
        self.times: list[float] = []
        self.start = time.perf_counter()
        self._each = each
        self._prompt = True
        self.stopped = False

    def put(self, value: Any) -> None:
        if self._prompt:  # generate hands the prompt over first
            self._prompt = False
            return
        self.times.append(time.perf_counter())
        if self._each is not None and self._each(value):
            self.stopped = True

    def end(self) -> None:
        """Nothing is kept back."""

    @property
    def first(self) -> float:
        return self.times[0] - self.start

    @property
    def rate(self) -> float | None:
        """Tokens per second after the first."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0]) if len(self.times) > 1 else None


def prove(model: Model, settings: Any, session: Session) -> None:
    """Build with random weights in the planned format, then prefill and decode several times."""
    torch = require("torch", "to run transformers", "llm")
    require("transformers", "to run a model", "llm")
    torch.set_num_threads(session.threads)
    torch.manual_seed(1)
    quant = (settings.quant or "bf16").lower()
    dtype = compute_dtype(quant, session.device)
    if quant in QUANTISED:
        require("bitsandbytes", "to run int8 and nf4", "llm")
    net = empty_model(config_of(model, settings.model), dtype, settings.attention)
    heap.give_back()
    session.baseline()
    with session.phase("load"):
        for done, of in fill(net, quant, dtype, session.device):
            session.progress(done, of, "parameters")
    session.emit(
        "effective",
        settings={
            "engine_version": require("transformers", "to run a model", "llm").__version__,
            "threads": torch.get_num_threads(),
            "attention": net.config._attn_implementation,
            "dtype": str(dtype).removeprefix("torch."),
        },
    )
    ids = torch.randint(3, model.vocab - 1, (settings.batch, settings.prompt_tokens), device=session.device)
    count = max(2, settings.output_tokens)
    # bitsandbytes packs its matrices once more, for the processor's kernels, when they are first used
    with heap.apart(quant in QUANTISED), session.phase("warm_up"):
        _generate(net, ids[:, :8], 2)
    with session.phase("prefill"):
        read = repeated(session, "prefill", lambda: _generate(net, ids, 1)[0])
    kept: list[Any] = []
    with session.phase("decode"):

        def once() -> Clock:
            clock, cache = _generate(net, ids, count, stop=lambda _: session.stopping)
            kept[:] = [cache]
            return clock

        written = repeated(session, "decode", once)
    session.measured("memory.weights", float(held_bytes(net)), "bytes", "parameters and buffers")
    if kept:
        _fill_context(net, ids, kept[0], settings.context, session)
    if read:
        rates = [ids.numel() / c.first for c in read]
        session.emit("timings", name="prefill_seconds", seconds=[c.first for c in read])
        session.measured("prefill_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))
        session.measured("first_token_seconds", statistics.median(c.first for c in read), "s")
    rates = [settings.batch * c.rate for c in written if c.rate]
    if rates:
        for clock in written:
            session.emit("timings", name="token_seconds", seconds=[b - a for a, b in pairwise(clock.times)])
        session.measured("decode_tokens_per_s", statistics.median(rates), "tokens/s", spread(rates))


def _fill_context(net: Any, ids: Any, cache: Any, context: int, session: Session) -> None:
    """The plan promises room for the whole context, so read on, a prompt at a time, until the cache holds it.

    The cache of transformers grows with the tokens. Where filling it would take longer than FILLING, what it holds by
    then is told in words and not as a measurement of the whole.
    """
    import torch

    start = time.perf_counter()
    with session.phase("full_context"), torch.inference_mode():
        while (held := cache.get_seq_length()) < context:
            if session.stopping or time.perf_counter() - start > FILLING:
                break
            piece = ids[:, : min(ids.shape[1], context - held)]
            net(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
            session.progress(cache.get_seq_length(), context, "tokens")
    size = cache_bytes(cache)
    held = cache.get_seq_length()
    if held >= context:
        session.measured("memory.kv_cache", float(size), "bytes", "tensors of the cache, filled")
    else:
        session.measured("memory.kv_cache", None, "bytes", f"{show_size(size)} at {held:,} of {context:,} tokens")


def _generate(net: Any, ids: Any, count: int, stop: Any = None) -> tuple[Clock, Any]:
    """Exactly `count` tokens, greedily; (clock, cache)."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=net.config)
    if ids.device.type == "cuda":
        torch.cuda.synchronize()
    clock = Clock(stop)
    with torch.inference_mode():
        net.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            streamer=clock if ids.shape[0] == 1 else None,
            stopping_criteria=stopping(clock),
            pad_token_id=0,
        )
    if not clock.times:  # several sequences: generate has no streamer for them, so only the whole is timed
        clock.times = [clock.start + (time.perf_counter() - clock.start) / count * (n + 1) for n in range(count)]
    return clock, cache


def stopping(clock: Clock) -> Any:
    """Ends generation when the clock was told to stop."""
    import torch
    from transformers import StoppingCriteriaList

    def asked(input_ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((input_ids.shape[0],), clock.stopped, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([asked])


def held_bytes(net: Any) -> int:
    """Bytes of all parameters and buffers, shared storages once, and of what bitsandbytes keeps beside a matrix."""
    seen: dict[int, int] = {}

    def add(tensor: Any) -> None:
        if tensor is not None and tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()

    for tensor in (*net.parameters(), *net.buffers()):
        add(tensor.data)
        state = getattr(tensor, "quant_state", None)
        if state is not None:
            nested = getattr(state, "state2", None)
            for extra in (state.absmax, state.code, state.offset, *((nested.absmax, nested.code) if nested else ())):
                add(extra)
        add(getattr(tensor, "SCB", None))
    return sum(seen.values())


def cache_bytes(cache: Any) -> int:
    """Bytes of the keys and values that a cache holds."""
    return sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values) if t is not None)
