"""What one training step of a transformer holds and does, from its shapes.

The memory of a step is not the sum of everything in it: activations are freed while gradients come to be. The forward
pass stacks up what each layer saves; the loss is the top of the stack; then the backward pass walks down, freeing one
layer's activations and making its gradients. `worst_moment` walks the same way and returns the highest point.

Saved bytes are counted from the operators of the net as PyTorch's autograd keeps them (derivatives.yaml names what
each backward needs); the tests count the same on the running net with saved-tensor hooks.
"""

import msgspec

from onecard.core.cost import Operation, Part
from onecard.core.ranges import Range


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes per token of a micro-batch."""

    layer: float
    """kept by one layer for its backward pass"""
    layer_input: float
    """kept by one layer under gradient checkpointing"""
    layer_work: float
    """live besides while one layer goes backward"""
    ends: float
    """kept outside the layers: the last norm, the head's input"""
    loss: float
    """live at the loss: logits, their fp32 copy, log-softmax and gradient"""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The highest point of a step, in bytes."""

    activations: float
    gradients: float
    where: str

    @property
    def bytes(self) -> float:
        return self.activations + self.gradients


def worst_moment(
    saved: Saved,
    *,
    tokens: float,
    layers: int,
    layer_gradients: float,
    other_gradients: float,
    accumulating: bool,
    checkpointing: bool,
) -> Moment:
    """Walk from the loss down to the first layer and return the moment that holds the most.

    tokens: of one micro-batch. layer_gradients: bytes made by one layer's backward; other_gradients: by head and
    embedding. accumulating: the gradients of earlier micro-batches are there from the start.
    """
    kept = saved.layer_input if checkpointing else saved.layer
    again = saved.layer if checkpointing else 0.0
    full = other_gradients + layers * layer_gradients
    moments = [
        Moment(
            activations=tokens * (layers * kept + saved.ends + saved.loss),
            gradients=full if accumulating else 0.0,
            where="loss",
        )
    ]
    for done in range(1, layers + 1):
        moments.append(
            Moment(
                activations=tokens * ((layers - done + 1) * kept + again + saved.layer_work),
                gradients=full if accumulating else other_gradients + done * layer_gradients,
                where="backward",
            )
        )
    moments.append(Moment(activations=0.0, gradients=full, where="optimizer"))
    return max(moments, key=lambda m: m.bytes)


def holes(saved: Saved, *, tokens: float, layers: int, checkpointing: bool) -> tuple[Part, ...]:
    """What a processor's heap loses under checkpointing: each layer's input settles where a temporary of the last layer was.

    The hole is then too small for the next layer's temporaries, which take new memory, and so on through all layers (seen
    operator by operator with mallinfo2(3): 446 MiB free in the heap after 30 layers of 1024 tokens). For steps whose other
    blocks are mapped apart; where logits come from the heap, or nothing is checkpointed, they fill such holes (HEAP in
    predict/memory.py).
    """
    if not checkpointing:
        return ()
    lost = Range.within(tokens * layers * saved.layer_work, 0.4, 0.4)
    return (Part(name="workspace", bytes=lost, only="cpu", equation="holes between the kept inputs of layers"),)


def attention_backward(elements: float) -> Operation:
    """What fused attention in bf16 takes besides on a processor; elements: of the queries that go backward (CPU_BACKWARD)."""
    return Operation(kind="backward", only="cpu", written=elements, label="attention's small blocks, backward")
