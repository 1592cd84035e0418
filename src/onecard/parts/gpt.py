"""What nets/gpt.py costs: its parameters, the memory of a training step moment by moment, and its operations.

Counted for the eager net on a GPU (fused RMS norm, flash or memory-efficient attention).
"""

import msgspec

from onecard.core.cost import Operation, Part, Phase
from onecard.core.ranges import Range
from onecard.parts.optimizer import state_bytes, step_operation
from onecard.parts.training import Saved, attention_backward, worst_moment


class GptShape(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of nets/gpt.py, without torch."""

    vocab: int
    context: int
    depth: int
    width: int
    heads: int
    ffn: int

    @property
    def layer_parameters(self) -> int:
        """Four square projections, three of the gated feed-forward; the norms have no weights."""
        return 4 * self.width**2 + 3 * self.width * self.ffn

    @property
    def embedding_parameters(self) -> int:
        """One table, which is also the head."""
        return self.vocab * self.width

    @property
    def parameters(self) -> int:
        return self.depth * self.layer_parameters + self.embedding_parameters

    @property
    def flops_per_token(self) -> float:
        """Forward and backward of one token, the numerator of MFU.

        6 per matmul weight (2 forward, 4 backward; the table counts once, as the head) and 6 x depth x width x context
        for causal attention: half of the 12 of PaLM (arXiv 2204.02311, appendix B), since half of the square is masked.
        """
        return 6.0 * self.parameters + 6.0 * self.depth * self.width * self.context


def gpt_saved(shape: GptShape, element: int) -> Saved:
    """Saved bytes of nets/gpt.py on a GPU with fused attention. element: bytes of the stream, 2 for bf16.

    Layer, in elements of the stream's type per token: each norm's output w (one tensor for q, k and v, one for gate and
    up), rotated q and k and plain v 3w, attention output w (the output projection reads the same storage); gate, its silu,
    up and their product 4f. In fp32: each norm's input w (`rms_norm` computes on an fp32 copy and keeps that), its root mean
    square, a log-sum for each head. Rotation, silu's scaling and the additions save nothing more.
    Backward of a layer: gradients of the product, of silu, gate and up (3f), of the stream and the norm (2w), and fp32
    sums for the queries of flash attention (w).
    Loss: saved log-softmax, gradient of it and gradient of the logits in fp32, 12 bytes per vocabulary entry: the
    forward pass is lower (logits, fp32 copy and log-softmax: element + 8).
    """
    w, f = shape.width, shape.ffn
    layer = element * (6 * w + 4 * f) + 2 * 4 * w + 8 + 4 * shape.heads
    return Saved(
        layer=layer,
        layer_input=element * w,
        layer_work=element * (2 * w + 3 * f) + 4 * w,
        ends=(element + 4) * w + 4,
        loss=12.0 * shape.vocab,
    )


def gpt_operations(shape: GptShape, *, sequences: float, micro: float, element: int, again: bool) -> list[Operation]:
    """What one optimizer step of nets/gpt.py does: all its micro-batches, and AdamW once.

    Launches are counted on the eager net: 31 forward and 65 backward kernels a layer, 25 around the layers.
    """
    tokens, passes = sequences * shape.context, max(1.0, sequences / micro)
    w, f, compute = shape.width, shape.ffn, "bf16" if element == 2 else "fp32"
    forwards = 2.0 if again else 1.0
    # weights are read forward and twice backward, per micro-batch; activations of a matmul once as input, once as output
    weights = shape.parameters * element * (2 + forwards) * passes
    moved = tokens * element * (shape.depth * (8 * w + 6 * f) + shape.vocab) * (2 + forwards)
    layer_bytes = element * (30 * w + 5 * f) * (2 + forwards) * tokens * shape.depth
    loss_bytes = tokens * shape.vocab * (element * 3 + 28)
    return [
        Operation(
            kind="matmul",
            kernel="cublas",
            format=compute,
            compute=compute,
            flops=2.0 * shape.parameters * tokens * (2 + forwards),
            read=weights + moved / 2,
            written=moved / 2,
            launches=passes * (7 * shape.depth + 1) * (2 + forwards),
            shape=(round(micro * shape.context), f, w),
            label="projections, feed-forward and head",
        ),
        Operation(
            kind="attention",
            kernel="flash",
            compute=compute,
            # forward 2 x context x width for the causal half, backward 2.5 times that (flash recomputes the scores)
            flops=tokens * 2.0 * shape.context * w * shape.depth * (2.5 + forwards),
            read=tokens * 3 * w * element * shape.depth * (2.5 + forwards),
            written=tokens * w * element * shape.depth * (2.5 + forwards),
            launches=passes * shape.depth * (2 + forwards),
            label="attention",
        ),
        Operation(
            kind="elementwise",
            read=0.6 * layer_bytes + 0.5 * loss_bytes,
            written=0.4 * layer_bytes + 0.5 * loss_bytes,
            launches=passes * (shape.depth * (16 * forwards + 44) + 25),
            label="norms, rotation, SwiGLU, residuals, loss",
        ),
        Operation(
            kind="copy",
            read=4.0 * shape.parameters * passes * (element == 2),
            written=2.0 * shape.parameters * passes * (element == 2),
            launches=passes * (7 * shape.depth + 1) * (element == 2),
            label="weights to bf16",
        ),
        *((attention_backward(tokens * w * shape.depth),) if element == 2 else ()),
    ]


WORKSPACE = Part(
    name="workspace",
    bytes=Range(2 * 8320.0 * 1024, 2 * 8320.0 * 1024, 2 * 32.0 * 1024**2),
    equation="2 x cuBLAS workspace: forward and autograd thread",
    only="card",
)
"""8320 KiB each, 32 MiB on Hopper and Blackwell (getChosenWorkspaceSize in aten/src/ATen/cuda/CublasHandlePool.cpp, 2.13)"""


def gpt_phases(
    shape: GptShape,
    *,
    batch: int,
    micro: int,
    steps: int,
    evaluations: int,
    held_out: int,
    element: int,
    checkpointing: bool,
) -> tuple[Phase, ...]:
    """train, evaluate, save and export of a run. batch, micro: sequences; held_out: tokens of one evaluation."""
    parameters = shape.parameters
    # The bf16 copies that the backward pass needs: of all layers, or of one at a time under checkpointing, and the head's.
    cast_layers = 1 if checkpointing else shape.depth
    casts = 2.0 * (cast_layers * shape.layer_parameters + shape.embedding_parameters) if element == 2 else 0.0
    moment = worst_moment(
        gpt_saved(shape, element),
        tokens=micro * shape.context,
        layers=shape.depth,
        layer_gradients=4.0 * shape.layer_parameters,
        other_gradients=4.0 * shape.embedding_parameters,
        accumulating=micro < batch,
        checkpointing=checkpointing,
    )
    activations = moment.activations + (casts if moment.where != "optimizer" else 0.0)
    state = state_bytes("adamw", [(parameters,)])
    kept = (
        Part(name="weights", bytes=Range.exact(4.0 * parameters), equation=f"4 B x {parameters:,}"),
        Part(name="optimizer", bytes=Range.exact(state), equation=f"2 x 4 B x {parameters:,}"),
    )
    where = f"at the {moment.where}: {micro} x {shape.context} tokens"
    operations = gpt_operations(shape, sequences=batch, micro=micro, element=element, again=checkpointing)
    return (
        Phase(
            name="train",
            parts=(
                *kept,
                Part(name="gradients", bytes=Range.exact(moment.gradients), equation=where),
                Part(name="activations", bytes=Range.within(activations, 0.05, 0.05), equation=where),
                WORKSPACE,
            ),
            operations=(*operations, step_operation("adamw", parameters)),
            repeat=steps,
            unit="tokens",
            units=batch * shape.context,
        ),
        Phase(
            name="evaluate",
            parts=(*kept, _forward_part(shape, micro, element)),
            operations=_forward(shape, held_out, micro, element),
            repeat=evaluations,
        ),
        Phase(
            name="save",
            parts=kept,
            operations=(Operation(kind="copy", place="link", read=4.0 * parameters + state),),
            repeat=evaluations,
        ),
        Phase(name="export", parts=kept, operations=(Operation(kind="copy", place="link", read=4.0 * parameters),)),
    )


def _forward_part(shape: GptShape, micro: int, element: int) -> Part:
    """Without gradients one layer is live at a time; logits, their fp32 copy and log-softmax are the peak."""
    tokens = micro * shape.context
    loss = tokens * ((element + 8) * shape.vocab + element * 2 * shape.width) + element * shape.embedding_parameters
    layer = tokens * element * (4 * shape.width + 3 * shape.ffn)
    return Part(
        name="activations",
        bytes=Range.within(max(loss, layer), 0.05, 0.05),
        equation=f"{micro} x {shape.context} tokens",
    )


def _forward(shape: GptShape, tokens: float, micro: float, element: int) -> tuple[Operation, ...]:
    """The forward third of a training step's operations."""
    whole = gpt_operations(shape, sequences=tokens / shape.context, micro=micro, element=element, again=False)
    return tuple(scaled(o, 1 / 3) for o in whole)


def scaled(operation: Operation, share: float) -> Operation:
    """The same kind of work, less or more of it."""
    return msgspec.structs.replace(
        operation,
        flops=operation.flops * share,
        read=operation.read * share,
        written=operation.written * share,
        launches=operation.launches * share,
    )
