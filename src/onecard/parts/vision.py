"""A vision tower and its projector: weights, and what an image costs the language model in tokens.

A block of a vision transformer has four square matrices of attention and a feed-forward; everything is kept in 16 bits, also in
llama.cpp's mmproj files. The tower sees (image / patch)^2 patches at once, with bidirectional attention.
"""

from onecard.core.model import Vision


def tower_parameters(vision: Vision, width: int) -> int:
    """Weights of tower and projector; width is that of the language model."""
    block = 4 * vision.hidden * (vision.hidden + 1) + (3 if vision.gated else 2) * vision.hidden * vision.ffn
    block += vision.ffn + vision.hidden + 4 * vision.hidden
    patches = (vision.image // vision.patch) ** 2
    entry = 3 * vision.patch**2 * vision.hidden + (patches + 1) * vision.hidden
    projector = sum(o * (i + 1) for o, i in vision.projector) or width * vision.hidden + width * width
    return vision.layers * block + entry + projector


def tower_bytes(vision: Vision, width: int) -> int:
    """Bytes in 16 bits."""
    return 2 * tower_parameters(vision, width)


def tower_activations(vision: Vision, element: int = 4) -> int:
    """Peak of one image: inner activations, states, and the scores of all heads (fp32 in llama.cpp)."""
    patches = (vision.image // vision.patch) ** 2
    states = patches * (6 * vision.hidden + 2 * vision.ffn) * element
    return states + vision.heads * patches * patches * element
