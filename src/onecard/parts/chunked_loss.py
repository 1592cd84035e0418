"""The loss of a large vocabulary as TRL computes it (trl.kernels.chunked_logprob, 1.16): tile by tile, never all logits at once.

The forward pass multiplies a tile and folds it into sums for each token; the backward pass multiplies the tile again and turns
it into its gradient. On a card one Triton kernel does either in place. Without Triton, as on a processor, plain operators do
it, and each makes a new fp32 tensor as large as the tile: most of the memory of a small model's step.
"""

from onecard.core.cost import Operation

TILE = (4096, 32768)
"""tokens and vocabulary entries whose logits exist at once (TOKEN_CHUNK_SIZE and the caller's chunk_size)"""

BACKWARD = 29.0
"""bytes of a tile's entry that live at once in `_backward_tile`: seven fp32 tensors and a mask of one byte"""
FORWARD = 13.0
"""the same in `_forward_tile`: three fp32 tensors and a mask"""

FRESH = (7, 12)
"""new fp32 tensors as large as a tile, forward and backward (with entropy and whether the target is the likeliest, which
SFTTrainer asks for, and the tile's fp32 copy for the product)"""
MOVED = (64.0, 108.0)
"""bytes of an entry that the operators read and write in all, forward and backward: operands and results of each"""

MAPPED = 32 * 2**20
"""bytes above which the C library maps a block for itself and gives it back when it is freed (M_MMAP_THRESHOLD's upper end,
mallopt(3)): no holes of the heap, and the system zeroes its pages anew each time"""


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


def operations(
    tokens: float, micro: float, vocab: int, hidden: int, *, element: int, learnt: bool, twice: bool = True
) -> tuple[Operation, ...]:
    """Products with the head and, on a processor, the folding. tokens: of a whole step, micro: of one pass.

    Forward one product for the tile, backward the same again, and one for the gradient of each input (and of a learnt head):
    these are summed up in fp32, which a card's matrix units do on bf16 operands and a processor on fp32 copies. twice: False for
    programs of before, which kept all logits (those that price a GPTQ base).
    """
    compute = "bf16" if element == 2 else "fp32"
    product, tiles = 2.0 * tokens * vocab * hidden, tokens / micro * -(-vocab // TILE[1]) * -(-micro // TILE[0])
    read = tokens / micro * vocab * hidden * element

    def products(count: int, unit: str, only: str) -> Operation:
        shape = (round(min(micro, TILE[0])), min(vocab, TILE[1]), hidden)
        return Operation(
            kind="matmul",
            kernel="cublas",
            format=unit,
            compute=unit,
            flops=count * product,
            read=count * read,
            written=count * tokens * vocab * element,
            launches=count * tiles,
            shape=shape,
            only=only,
            label="head",
        )

    entries = tokens * vocab
    mapped = 4.0 * sum(FRESH) * entries if block(micro, vocab) > MAPPED else 0.0
    return (
        products(2 + twice + learnt, compute, "card"),
        products(1 + twice, compute, "cpu"),
        products(1 + learnt, "fp32", "cpu"),
        Operation(
            kind="elementwise",
            only="cpu",
            read=0.6 * sum(MOVED) * entries,
            written=0.4 * sum(MOVED) * entries,
            launches=60 * tiles,
            label="loss, folded by plain operators",
        ),
        Operation(kind="map", only="cpu", written=mapped, label="new memory for each of these operators"),
    )
