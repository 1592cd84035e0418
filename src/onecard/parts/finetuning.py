"""What fine-tuning a decoder-only model holds and does: full, LoRA or QLoRA, as transformers, PEFT and TRL do it.

Counted for llama-like blocks (RMS norm, gated feed-forward) in transformers 5 with fused attention; the tests hold it
against traces of the very trainer step.
"""

from collections import Counter
from functools import cache
from math import prod

import msgspec

from onecard.core.cost import Operation, Part, Phase
from onecard.core.model import Model
from onecard.core.ranges import Range
from onecard.parts import chunked_loss
from onecard.parts.gpt import WORKSPACE, scaled
from onecard.parts.lora import adapted, linear_weights, lora_parameters, lora_shapes
from onecard.parts.optimizer import state_bytes, step_operation
from onecard.parts.quantized import gptq_bytes, nf4_bytes
from onecard.parts.training import Moment, Saved, attention_backward, holes, worst_moment
from onecard.parts.transformer import parameters, tensors

PACKED = {"qlora": ("bitsandbytes", "nf4", 0.52, 2.0), "gptq": ("gptq", "gptq-int4", 7.5, 9.0)}
"""methods whose base model is in 4 bits -> whose kernels unpack it, the format, and bytes read and written for each weight
every time. bitsandbytes: one kernel reads half a byte and a scale, writes 16 bits. GPTQ learns through plain operators
(AutoGPTQ nn_modules/qlinear/qlinear_cuda_old.py, forward): shifted into int32 (0.5 read, 4 written), to int8 (4, 1), masked
(1, 1), less the zero point (1, 1), times the scale (1, 2); its exllama kernels have no backward pass"""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that change memory or time."""

    method: str
    rank: int
    target: str
    optimizer: str
    precision: str
    checkpointing: bool
    fused: bool
    """attention without a (tokens x tokens) matrix"""
    batch: int
    micro: int
    eval_micro: int
    sequence: int
    steps: int
    every: int


def weight_bytes(model: Model, tuning: Tuning) -> float:
    """The base model: whole in its type, or 4-bit in the linear layers (embedding, head and norms stay)."""
    element = 2.0 if tuning.precision == "bf16" else 4.0
    if tuning.method not in PACKED:
        return element * parameters(model)
    small = adapted(model, "all")
    kept = parameters(model) - linear_weights(model)[0]
    alike = Counter([t.shape for t in small]).items()
    if tuning.method == "gptq":
        return element * kept + sum(count * gptq_bytes(*shape) for shape, count in alike)
    return element * kept + sum(count * nf4_bytes(prod(shape), double=True) for shape, count in alike)


def trained_shapes(model: Model, tuning: Tuning) -> tuple[tuple[int, ...], ...]:
    """Every trained tensor."""
    if tuning.method == "full":
        return tuple([t.shape for t in tensors(model)])
    return lora_shapes(model, tuning.rank, tuning.target)


def trained_element(tuning: Tuning) -> int:
    """Bytes of a trained number: TRL turns the adapters of a 4-bit model into bf16 (SFTTrainer, as the QLoRA paper does)."""
    return 2 if tuning.method == "qlora" or (tuning.method == "full" and tuning.precision == "bf16") else 4


@cache
def elements(shapes: tuple[tuple[int, ...], ...]) -> int:
    """How many numbers these tensors hold."""
    return sum(map(prod, shapes))


def saved(model: Model, tuning: Tuning) -> Saved:
    """Bytes per token that autograd keeps, in the type of the stream (e bytes), widths h, q = heads x head_dim, f.

    Both: each norm keeps an fp32 copy of its input (4h); attention keeps rotated q, k and v repeated for all heads, and
    its output (4q), and for padded sequences its mask in the stream's type (e x tokens of the sequence); the
    feed-forward keeps gate, silu of it, and up (3f).
    full: besides, each norm's value before its scale, the inputs of q/k/v and of gate/up (once each, where the stream has
    the weights' type; under autocast each matrix casts its own: 5h), and the product that goes down (f).
    LoRA: each adapted matrix keeps its own input, cast for the adapter (h for q, k, v, gate and up, q for out, f for
    down; without a cast, in fp32 and beside 4-bit weights, those that share an input keep it once), and the rank; a frozen
    matrix keeps nothing.
    Without fused attention also scores and probabilities: heads x tokens, e + 4 bytes each.
    """
    e = 2 if tuning.precision != "fp32" else 4
    stream = 2 if tuning.precision == "bf16" else 4
    h, f, q = model.hidden, model.ffn, model.heads * model.head_dim
    layer = 2 * (4 * h + 4) + e * (4 * q + 3 * f + tuning.sequence) + 4 * model.heads
    first = [t for t in adapted(model, tuning.target) if t.layer == 0]
    if tuning.method == "full" and tuning.precision == "mixed":
        layer += 2 * 4 * h + e * (5 * h + f)
    elif tuning.method == "full":
        layer += e * (4 * h + f)
    elif tuning.precision == "fp32" or tuning.method == "qlora":
        named = {t.name.rpartition(".")[0].split(".")[2] for t in first}
        shared = h * bool(named & {"attn_q", "attn_k", "attn_v"}) + h * bool(named & {"ffn_gate", "ffn_up"})
        layer += e * (shared + f * ("ffn_down" in named) + tuning.rank * len(first))
    else:
        layer += e * sum(t.shape[0] + tuning.rank for t in first)
    if not tuning.fused:
        layer += model.heads * tuning.sequence * (e + 4)
    tokens = tuning.micro * tuning.sequence
    return Saved(
        layer=layer,
        layer_input=stream * h,
        layer_work=e * (2 * h + 3 * f) + 4 * q,
        ends=(4 + 2 * stream) * h,
        loss=chunked_loss.buffer(tokens, e) / tokens + 4 * h,
    )


def phases(model: Model, tuning: Tuning) -> tuple[Phase, ...]:
    """train, evaluate, save and export."""
    shapes = trained_shapes(model, tuning)
    trained = elements(shapes)
    full = tuning.method == "full"
    element = trained_element(tuning)
    computed = 4 if tuning.precision == "fp32" else 2
    state = state_bytes(tuning.optimizer, shapes, element)
    paged = tuning.optimizer.startswith("paged")
    weights = weight_bytes(model, tuning) + (0 if full else element * trained)
    tokens = tuning.micro * tuning.sequence
    outside = sum(t.elements for t in tensors(model) if t.layer is None)
    per_layer = (trained - (outside if full else 0)) / model.layers * element

    def walked(held: Saved) -> Moment:
        return worst_moment(
            held,
            tokens=tokens,
            layers=model.layers,
            layer_gradients=per_layer,
            other_gradients=outside * element if full else 0,
            accumulating=tuning.micro < tuning.batch,
            checkpointing=tuning.checkpointing,
        )

    held = saved(model, tuning)
    summing, head = chunked_loss.head_gradient(model.vocab, model.hidden, element) if full else (0.0, 0.0)
    moment = walked(msgspec.structs.replace(held, loss=held.loss + head / tokens))
    head *= moment.where == "loss"
    folded = max(head, summing + chunked_loss.plain(tokens, model.vocab, model.hidden, computed))
    beside = walked(msgspec.structs.replace(held, loss=held.loss + folded / tokens)).bytes - moment.bytes
    kept = (
        Part(name="weights", bytes=Range.exact(weights), equation=f"{tuning.method}, {parameters(model):,} parameters"),
        Part(
            name="optimizer",
            bytes=Range.exact(state),
            place="host" if paged else "device",
            equation=f"{tuning.optimizer} of {trained:,} trained",
        ),
    )
    casts = _casts(model, tuning, trained)
    where = f"at the {moment.where}: {tuning.micro} x {tuning.sequence} tokens"
    work = _operations(model, tuning)
    lived = Range.within(moment.activations - head + casts, 0.1, 0.1)
    summed = Part(name="workspace", bytes=Range.exact(head), equation="the head's gradient, summed in fp32")
    evaluated = tuning.eval_micro * tuning.sequence * (12.0 * model.hidden + 4.0 * model.ffn) + casts
    evaluated += chunked_loss.buffer(tuning.eval_micro * tuning.sequence, 2)
    evaluations = -(-tuning.steps // tuning.every)
    return (
        Phase(
            name="train",
            parts=(
                *kept,
                Part(name="gradients", bytes=Range.exact(moment.gradients), equation=where),
                Part(name="activations", bytes=lived, equation=where),
                *((summed,) if head else ()),
                _folding(tokens, model, beside),
                *holes(held, tokens=tokens, layers=model.layers, checkpointing=tuning.checkpointing),
                WORKSPACE,
            ),
            operations=(*work, step_operation(tuning.optimizer, trained, element=element)),
            repeat=tuning.steps,
            unit="tokens",
            units=tuning.batch * tuning.sequence,
        ),
        Phase(
            name="evaluate",
            parts=(
                *kept,
                Part(name="activations", bytes=Range.within(evaluated, 0.1, 0.1)),
                _folding(
                    tuning.eval_micro * tuning.sequence,
                    model,
                    chunked_loss.plain(
                        tuning.eval_micro * tuning.sequence, model.vocab, model.hidden, computed, backward=False
                    ),
                ),
                WORKSPACE,
            ),
            operations=tuple(scaled(o, 0.5) for o in work),
            repeat=evaluations,
        ),
        Phase(
            name="save",
            parts=kept,
            operations=(Operation(kind="copy", place="link", read=element * trained + state),),
            repeat=evaluations,
        ),
        Phase(
            name="export",
            parts=(
                *kept,
                Part(
                    name="other",
                    place="host",
                    bytes=Range.exact(2.0 * parameters(model)),
                    equation="merged on the host in the type of the weights",
                ),
            ),
            operations=(Operation(kind="copy", place="link", read=2.0 * parameters(model)),),
        ),
    )


def _folding(tokens: float, model: Model, size: float) -> Part:
    """What a processor holds besides while the loss is folded; smaller blocks come from the heap like all activations."""
    mapped = chunked_loss.block(tokens, model.vocab) > chunked_loss.MAPPED
    return Part(
        name="workspace" if mapped else "activations",
        bytes=Range.within(size, 0.1, 0.1),
        only="cpu",
        equation="loss folded by plain operators: fp32 tensors as large as a tile of the logits",
    )


def _adapter_bytes(inputs: int, outputs: int, element: int, casts: bool) -> float:
    """Bytes per token that an adapter moves beside its products, one way: its output scaled and added to that of the matrix; on
    16-bit weights its input cast to fp32, and by autocast back again (peft 0.21, Linear.forward; its 4-bit layers leave it)."""
    return 5.0 * element * outputs + (12.0 * inputs if casts else 0.0)


def _casts(model: Model, tuning: Tuning, trained: int) -> float:
    """Copies that autocast makes of fp32 weights for the length of a forward pass, and the 4-bit layer being used."""
    if tuning.precision == "fp32":
        return 0.0
    _, largest = linear_weights(model)
    if tuning.method in PACKED:
        return 2.0 * largest + (2.0 * trained if trained_element(tuning) == 4 else 0.0)
    return 2.0 * (parameters(model) if tuning.precision == "mixed" else 0) + (
        2.0 * trained if tuning.method == "lora" else 0.0
    )


def _operations(model: Model, tuning: Tuning) -> tuple[Operation, ...]:
    """One optimizer step. Forward 2 FLOPs a weight and token, backward 2 for the input and 2 for a trained weight."""
    e = 2 if tuning.precision != "fp32" else 4
    tokens, passes = tuning.batch * tuning.sequence, tuning.batch / tuning.micro
    compute = "bf16" if e == 2 else "fp32"
    linear = linear_weights(model)[0]
    forwards = 2.0 if tuning.checkpointing else 1.0
    backwards = 2.0 if tuning.method == "full" else 1.0
    extra = 0 if tuning.method == "full" else lora_parameters(model, tuning.rank, tuning.target)
    width = model.heads * model.head_dim
    pairs = len(adapted(model, tuning.target)) if extra else 0
    share = 3.0 if tuning.fused else 6.0
    streamed = e * (20.0 * model.hidden + 8.0 * width + 8.0 * model.ffn) * model.layers * tokens
    casts = e == 2 and tuning.method not in PACKED
    moved = (
        tokens * sum(_adapter_bytes(t.shape[0], t.shape[1], e, casts) for t in adapted(model, tuning.target))
        if extra
        else 0.0
    )
    found = [
        Operation(
            kind="matmul",
            kernel="cublas",
            format=compute,
            compute=compute,
            flops=2.0 * tokens * (linear * (forwards + backwards) + extra * (forwards + 2.0)),
            read=linear * e * passes * (forwards + backwards) + streamed * 0.3,
            written=streamed * 0.3,
            launches=passes * (7.0 * model.layers + 2.0 * pairs) * (forwards + backwards),
            shape=(tuning.micro * tuning.sequence, model.ffn, model.hidden),
        ),
        Operation(
            kind="attention",
            kernel="flash" if tuning.fused else "eager",
            compute=compute,
            flops=tokens * 2.0 * tuning.sequence * width * model.layers * (forwards + 2.5),
            read=tokens * e * 3.0 * width * model.layers * (forwards + share),
            launches=passes * model.layers * (forwards + 2.0),
        ),
        Operation(
            kind="elementwise",
            read=streamed * (forwards + 2.0) * 0.6 + moved * (forwards + 1.0) / 2,
            written=streamed * (forwards + 2.0) * 0.4 + moved * (forwards + 1.0) / 2,
            launches=passes * (model.layers * 60.0 + pairs * 8.0) * (forwards + 2.0),
        ),
        *chunked_loss.operations(
            tokens,
            tuning.micro * tuning.sequence,
            model.vocab,
            model.hidden,
            element=e,
            learnt=tuning.method == "full",
            twice=tuning.method != "gptq",
        ),
    ]
    if tuning.fused and e == 2:
        found.append(attention_backward(tokens * width * model.layers))
    if tuning.method in PACKED:
        kernel, format, read, written = PACKED[tuning.method]
        small = sum(t.elements for t in adapted(model, "all"))
        times = passes * (forwards + 1.0)
        found.append(
            Operation(
                kind="quantize",
                kernel=kernel,
                format=format,
                read=read * small * times,
                written=written * small * times,
                launches=len(adapted(model, "all")) * times,
            )
        )
    return tuple(found)
