"""The loss of a large vocabulary as TRL computes it (trl.kernels.chunked_logprob, 1.16): tile by tile, never all logits at once.

The forward pass multiplies a tile and folds it into sums for each token; the backward pass multiplies the tile again and turns
it into its gradient. On a card one Triton kernel does either in place. Without Triton, as on a processor, plain operators do
it, and each makes a new fp32 tensor as large as the tile: most of the memory of a small model's step.
"""

TILE = (4096, 32768)
"""tokens and vocabulary entries whose logits exist at once (TOKEN_CHUNK_SIZE and the caller's chunk_size)"""

BACKWARD = 29.0
"""bytes of a tile's entry that live at once in `_backward_tile`: seven fp32 tensors and a mask of one byte"""
FORWARD = 13.0
"""the same in `_forward_tile`: three fp32 tensors and a mask"""

MAPPED = 32 * 2**20
"""bytes above which the C library maps a block for itself and gives it back when it is freed (M_MMAP_THRESHOLD's upper end,
mallopt(3)): it leaves no hole in the heap"""


def buffer(tokens: float, element: int) -> float:
    """Bytes of the tile that is multiplied into; it is a whole tile wide also for a small vocabulary."""
    return float(min(tokens, TILE[0]) * TILE[1] * element)


def block(tokens: float, vocab: int) -> float:
    """Bytes of one fp32 tensor as large as the tile in use."""
    return 4.0 * min(tokens, TILE[0]) * min(vocab, TILE[1])


def plain(tokens: float, vocab: int, hidden: int, element: int, *, backward: bool = True) -> float:
    """Bytes that live beside the tile at the most where plain operators fold it.

    Backward either the folding itself, or the product with fp32 copies of the tile and of its part of the head.
    """
    one = block(tokens, vocab)
    if not backward:
        return FORWARD / 4 * one
    copies = one + 4.0 * min(vocab, TILE[1]) * hidden if element == 2 else 0.0
    return max(BACKWARD / 4 * one, copies)


def head_gradient(vocab: int, hidden: int, element: int) -> tuple[float, float]:
    """Bytes of the head's gradient where it is learnt: (while tiles are summed up in fp32, with its cast to the weights' type)."""
    return 4.0 * vocab * hidden, float(vocab * hidden * (4 + (element if element < 4 else 0)))
