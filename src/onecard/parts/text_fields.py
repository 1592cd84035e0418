"""Settings that the text workloads share, each with its one wording for the command line, the web form and the docs."""

from typing import Annotated, Any, Literal

from msgspec import Meta

HeldOut = Annotated[float, Meta(description="share of data that is held out", gt=0, lt=1)]
Length = Annotated[int, Meta(description="longest text in tokens; the rest is cut off", ge=4, le=8192)]
Rounds = Annotated[float, Meta(description="how often each row is seen", gt=0)]
Batch = Annotated[int, Meta(description="rows of one optimizer step", ge=1)]
MicroBatch = Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="rows computed at once")]
Checkpointing = Annotated[
    bool | None, Meta(description="keep only each layer's input and compute the rest again: less memory, slower")
]
Precision = Annotated[
    Literal["bf16", "fp32"] | None,
    Meta(
        description="arithmetic, weights stay fp32; left out: bf16, or fp32 for tiny, whose steps are too short to gain"
    ),
]
WeightDecay = Annotated[float, Meta(description="pull of AdamW towards zero", ge=0)]
Dropout = Annotated[float, Meta(description="share of activations set to zero in training", ge=0, lt=1)]
Shorter = Annotated[bool, Meta(description="after an out of memory that nothing else cures, halve the length too")]
Export = Annotated[bool, Meta(description="write the best net and its tokenizer as a transformers folder")]
Seed = Annotated[int, Meta(description="of the weights, the split, the order and the dropout", ge=0)]

# of pairs: a text, and what is to be written from it
PairSteps = Annotated[
    Annotated[int, Meta(ge=0)] | None,
    Meta(description="optimizer steps; left out: from epochs; 0: the model as it is"),
]
Beams = Annotated[int, Meta(description="beams of the search for the output; 1: greedy", ge=1, le=16)]


def in_bf16(settings: Any) -> bool:
    """Whether a Settings of a text net computes under bf16 autocast: the same on a card and on a processor."""
    return (settings.precision or ("fp32" if settings.model == "tiny" else "bf16")) == "bf16"
