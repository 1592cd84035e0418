"""What a training step of a text net holds and does: encoders, GPT-2, and encoder-decoders of transformers.

Weights, gradients and AdamW's moments are fp32; under bf16 autocast each linear layer casts its input (its own copy for
each of q, k and v) and its weights (once for all until the forward pass ends), while norms and the residual stream
stay fp32. The memory is walked through like the step itself; tests hold it against a trace of the same step.
"""

import msgspec

from onecard.core.cost import Operation, Part, Phase
from onecard.core.ranges import Range
from onecard.parts.gpt import WORKSPACE
from onecard.parts.optimizer import state_bytes, step_operation
from onecard.parts.text_nets import DECODERS, ENCODERS, TextNet
from onecard.parts.training import Moment


class TextStep(msgspec.Struct, frozen=True, kw_only=True):
    """One optimizer step: how many rows, how long, in which arithmetic."""

    net: TextNet
    batch: int
    micro: int
    length: int
    """tokens of each input row"""
    target: int = 0
    """tokens of each output row; 0 for a classifier"""
    classes: int = 2
    bf16: bool = True
    dropout: bool = True
    checkpointing: bool = False
    beams: int = 1
    """of the search for the output, where rows are written"""

    @property
    def parameters(self) -> int:
        return self.net.parameters(0 if self.target else self.classes)

    @property
    def decoder_length(self) -> int:
        return self.target or self.length


def saved_layer(step: TextStep, length: int) -> float:
    """Bytes per token that a self-attention layer keeps for its backward pass.

    bf16: norms keep their fp32 input; q, k and v each keep a cast of theirs (GPT-2: one for the three), attention keeps
    q, k, v and its output, dropout a mask of one byte, the feed-forward its cast input, and f before and after the
    activation. GPT-2's gelu is written out in single operations and keeps five values, four of them fp32 under autocast.
    T5's norm keeps its input and its normalised input, and each layer a bf16 copy of the position bias.
    """
    n = step.net
    w, i, f = n.width, n.inner, n.ffn
    e, mask = 2 if step.bf16 else 4, 1 if step.dropout else 0
    attention = 4 * e * i + 4 * n.heads
    if n.family == "gpt2":
        return 8 * w + 2 * e * w + attention + 2 * mask * w + (16 if step.bf16 else 20) * f + 16
    if n.family == "t5":
        casts = 4 * e * w if step.bf16 else 0
        bias = e * n.heads * length if step.bf16 else 0
        return 16 * w + casts + attention + 2 * mask * w + (2 * e + mask) * f + bias + 8
    casts = 4 * e * w if step.bf16 else 2 * e * w
    return 8 * w + casts + attention + 2 * mask * w + 2 * e * f + 16


def saved_cross(step: TextStep) -> tuple[float, float]:
    """What attention to the encoder keeps: bytes per decoder token, and per encoder token (its k and v, and casts)."""
    n = step.net
    w, i = n.width, n.inner
    e, mask = 2 if step.bf16 else 4, 1 if step.dropout else 0
    norm = 8 if n.family == "t5" else 4
    cast = e * w if step.bf16 or n.family != "t5" else 0
    return norm * w + cast + 2 * e * i + mask * w + 4 * n.heads + 8, 2 * e * i + (2 * e * w if step.bf16 else 0)


DROPS_SCORES = (*ENCODERS, *DECODERS)
"""families whose attention drops scores out with `dropout`, in transformers' fused attention"""


def processor_scores(step: TextStep) -> float:
    """Bytes of attention scores that a training step keeps on a processor, where fused attention knows no dropout.

    torch then takes its plain path (`_scaled_dot_product_attention_math`): the softmax, a mask of one byte and what is left
    of it stay for the backward pass, for each layer (for one, if it is checkpointed), and the scores of one layer for a moment.
    """
    n, e = step.net, 2 if step.bf16 else 4
    if not step.dropout or n.family not in DROPS_SCORES:
        return 0.0
    layers = 1 if step.checkpointing else n.encoder + n.decoder
    return float(step.micro * n.heads * step.length**2 * (layers * (2 * e + 1) + e))


def random_numbers(step: TextStep) -> float:
    """Random numbers that the dropouts of one step draw: one an element of each layer's outputs, and of the scores of attention."""
    n = step.net
    if not step.dropout:
        return 0.0
    source, target = (
        float(step.batch * step.length * (n.encoder > 0)),
        float(step.batch * step.decoder_length * (n.decoder > 0)),
    )
    crossing = n.encoder > 0 and n.decoder > 0
    each = n.width * 2 + (n.ffn if n.family == "t5" else 0)
    outputs = source * n.encoder * each + target * n.decoder * (each + n.width * crossing) + (source + target) * n.width
    scores = 0.0
    if n.family in (*DROPS_SCORES, "t5"):
        scores = n.heads * (source * n.encoder * step.length + target * n.decoder * step.decoder_length)
        scores += n.heads * target * n.decoder * step.length * crossing
    return (outputs + scores) * (2 if step.checkpointing else 1)


def peak_moment(step: TextStep) -> Moment:
    """The loss (all activations, casts of the weights), or the end of the backward pass (all gradients)."""
    n = step.net
    rows, e = float(step.micro), 2 if step.bf16 else 4
    source, target = rows * step.length * (n.encoder > 0), rows * step.decoder_length * (n.decoder > 0)
    crossing = n.encoder > 0 and n.decoder > 0
    cross = saved_cross(step) if crossing else (0.0, 0.0)
    encoder = source * saved_layer(step, step.length)
    decoder = target * (saved_layer(step, step.decoder_length) + cross[0]) + source * cross[1]
    inputs = 4.0 * n.width
    if step.checkpointing:
        kept = n.encoder * source * inputs + n.decoder * target * inputs
        again = max(encoder if n.encoder else 0.0, decoder if n.decoder else 0.0)
    else:
        kept, again = n.encoder * encoder + n.decoder * decoder, 0.0
    ends = (source + target) * (2 * inputs + n.width * step.dropout)
    casts = 2.0 * (n.layers + (n.vocab * n.width if step.target else 0)) if step.bf16 else 0.0
    # logits, their fp32 copy, log-softmax, then its gradient and that of the logits
    loss = target * n.vocab * (12.0 if step.target else 0.0)
    if step.target and n.family == "t5":
        ends += 4.0 * n.heads * rows * (step.length**2 + step.target**2)
    full = 4.0 * step.parameters
    started = full if step.micro < step.batch else 0.0
    last = max((source, n.encoder, encoder), (target, n.decoder, decoder), key=lambda x: x[0] * (x[1] > 0))
    work = last[0] * (2 * e * n.ffn + 10 * n.width)
    layer = 4.0 * max(n.encoder_layer * (n.encoder > 0), n.decoder_layer * (n.decoder > 0))
    table = 4.0 * n.vocab * n.width
    # A checkpointed layer casts its weights again; else the casts live until their layer has gone backward.
    alive = min(casts, layer / 2 + (table / 2 if step.target else 0.0)) if step.checkpointing else casts
    moments = [
        Moment(activations=kept + ends + casts + loss, gradients=started, where="loss"),
        Moment(
            activations=kept + ends + again + work + alive,
            gradients=started or layer + (table if step.target else 0.0),
            where="first layer of the backward pass",
        ),
        Moment(activations=table if started else 0.0, gradients=full, where="optimizer"),
    ]
    return max(moments, key=lambda m: m.bytes)


def operations(step: TextStep, *, rows: float, train: bool = True) -> list[Operation]:
    """What the forward pass (and, in training, backward) over this many rows does.

    2 FLOPs per weight and token forward, 4 backward. Launches: eager kernels of a layer, 30 forward and 60 backward
    (62 and 125 under autocast, with its casts), counted on the running nets.
    """
    n, e = step.net, 2 if step.bf16 else 4
    source, target = rows * step.length * (n.encoder > 0), rows * step.decoder_length * (n.decoder > 0)
    passes = max(1.0, rows / step.micro)
    times = (3.0 + step.checkpointing) if train else 1.0
    work = source * n.encoder * n.encoder_layer + target * n.decoder * n.decoder_layer
    work += target * n.vocab * n.width if step.target else 0.0
    tokens = source * n.encoder + target * n.decoder
    pairs = source * n.encoder * step.length + target * n.decoder * step.decoder_length
    pairs += target * n.decoder * step.length * (n.encoder > 0)
    compute = "bf16" if step.bf16 else "fp32"
    layers = n.encoder + n.decoder * (1.5 if n.encoder else 1.0)
    moved = tokens * e * (8 * n.width + 4 * n.ffn) + (target * n.vocab * e if step.target else 0.0)
    stream = tokens * (40 * n.width + 4 * e * n.ffn) + (target * n.vocab * 28.0 if step.target else 0.0)
    return [
        Operation(
            kind="matmul",
            kernel="cublas",
            format=compute,
            compute=compute,
            flops=2.0 * work * times,
            read=(n.layers * e * passes + moved / 2) * times,
            written=moved / 2 * times,
            launches=6 * layers * passes * times,
            shape=(max(1, round(step.micro * step.length)), n.ffn, n.width),
            label="projections and feed-forward",
        ),
        Operation(
            kind="attention",
            kernel="flash",
            compute=compute,
            flops=4.0 * pairs * n.inner * (times + 0.5 * train),
            read=tokens * 3 * n.inner * e * times,
            written=tokens * n.inner * e * times,
            launches=layers * passes * times,
            label="attention",
        ),
        Operation(
            kind="elementwise",
            read=0.6 * stream * times,
            written=0.4 * stream * times,
            launches=layers * passes * times * (45 if step.bf16 else 20),
            label="norms, dropout, activations, residuals",
        ),
    ]


def phases(
    step: TextStep, *, steps: int, evaluations: int, held_out: int, written: int = 0, timed: bool = True
) -> tuple[Phase, ...]:
    """train, evaluate, write, save and export; only write where there are no steps and nothing to judge by.

    held_out: rows of an evaluation; written: rows for which the net writes its own output, once, after training;
    timed: with the operations, or memory alone (what a search asks of every candidate).
    """
    n, parameters = step.net, step.parameters
    moment = peak_moment(step)
    state = state_bytes("adamw", [(parameters,)])
    weights = Part(name="weights", bytes=Range.exact(4.0 * parameters), equation=f"4 B x {parameters:,}")
    optimizer = Part(name="optimizer", bytes=Range.exact(state), equation=f"2 x 4 B x {parameters:,}")
    kept = (weights, optimizer) if steps else (weights,)
    where = f"at the {moment.where}: {step.micro} rows of {step.length}"
    plain = processor_scores(step) * (moment.where != "optimizer")
    scores = Part(name="activations", bytes=Range.within(plain, 0.05, 0.05), only="cpu", equation="attention scores")
    element = 2 if step.bf16 else 4
    tokens = step.micro * max(step.length, step.decoder_length)
    forward = tokens * (element * (4 * n.ffn + 8 * n.inner) + 12 * n.width) + (2.0 * n.layers if step.bf16 else 0.0)
    forward += step.micro * step.target * n.vocab * 12.0
    train = Phase(
        name="train",
        parts=(
            *kept,
            Part(name="gradients", bytes=Range.exact(moment.gradients), equation=where),
            Part(name="activations", bytes=Range.within(moment.activations, 0.08, 0.08), equation=where),
            *((scores,) if plain else ()),
            WORKSPACE,
        ),
        operations=_training(step) if timed else (),
        repeat=steps,
        unit="rows",
        units=step.batch,
    )
    activations = Part(name="activations", bytes=Range.within(forward, 0.1, 0.1), equation=f"{step.micro} rows")
    evaluate = Phase(
        name="evaluate",
        parts=(*kept, activations, WORKSPACE),
        operations=tuple(operations(step, rows=held_out, train=False)) if timed else (),
        repeat=evaluations if steps else 1,
    )
    save = Phase(
        name="save",
        parts=kept,
        operations=(Operation(kind="copy", place="link", read=4.0 * parameters + state),),
        repeat=evaluations,
    )
    export = Phase(name="export", parts=kept, operations=(Operation(kind="copy", place="link", read=4.0 * parameters),))
    return (
        *((train,) if steps else ()),
        *((evaluate,) if held_out else ()),
        *((_writing(step, kept, written, timed),) if written else ()),
        *((save, export) if steps else ()),
    )


def _training(step: TextStep) -> tuple[Operation, ...]:
    """One optimizer step: forward and backward, AdamW, and what the dropouts draw."""
    drawn = random_numbers(step)
    dropped = Operation(kind="random", written=drawn, only="cpu", label="random numbers of the dropouts, by one thread")
    return (*operations(step, rows=step.batch), step_operation("adamw", step.parameters), dropped)


def _writing(step: TextStep, kept: tuple[Part, ...], rows: int, timed: bool) -> Phase:
    """Output token by token: the encoder reads the rows once, then every token reads all weights of the decoder again.

    Memory: keys and values of what was read (for each decoder layer) and of what was written so far, both once for
    each beam; logits of the last token; what a layer of the encoder works with.
    """
    n, e = step.net, 2 if step.bf16 else 4
    beams = step.beams
    cache = 2.0 * e * n.inner * n.decoder * step.micro * beams * (step.length + step.target)
    work = float(step.micro * step.length * (e * (2 * n.ffn + 4 * n.inner) + 12 * n.width))
    # a cast of every weight lives until autocast ends
    work += step.micro * beams * n.vocab * 12.0 + (2.0 * (n.layers + n.vocab * n.width) if step.bf16 else 0.0)
    return Phase(
        name="write",
        parts=(
            *kept,
            Part(
                name="kv_cache",
                bytes=Range.exact(cache),
                equation=f"{step.micro} rows x {beams} beams x ({step.length} read + {step.target} written)",
            ),
            Part(name="activations", bytes=Range.within(work, 0.3, 0.3), equation=f"{step.micro} rows"),
            WORKSPACE,
        ),
        operations=_written(step, rows, cache) if timed else (),
        unit="rows",
        units=rows,
    )


def _written(step: TextStep, rows: int, cache: float) -> tuple[Operation, ...]:
    """The encoder over all rows once, then token by token. cache: bytes of keys and values of one micro-batch."""
    n, e, beams = step.net, 2 if step.bf16 else 4, step.beams
    reading = msgspec.structs.replace(step, target=1, beams=1)
    weights = n.decoder * n.decoder_layer + n.vocab * n.width
    turns = step.target * max(1.0, rows / step.micro)
    token = Operation(
        kind="matmul",
        kernel="cublas",
        format="bf16" if step.bf16 else "fp32",
        compute="bf16" if step.bf16 else "fp32",
        flops=2.0 * weights * step.target * rows * beams,
        read=weights * e * turns + cache / 2 * turns,
        written=turns * step.micro * beams * n.vocab * e,
        launches=turns * n.decoder * 60,
        shape=(step.micro * beams, n.ffn, n.width),
        label="written token by token",
    )
    return (*operations(reading, rows=rows, train=False), token)
