"""Every format of GGUF: random blocks dequantise to finite numbers that spread like weights."""

import pytest

from onecard.engines import random_blocks
from onecard.engines.gguf_writer import TYPE_IDS
from onecard.parts.quantized import GGUF_BLOCKS

gguf = pytest.importorskip("gguf", reason="the gguf library dequantises")
np = pytest.importorskip("numpy", reason="the gguf library needs it")

WEIGHTS = sorted(set(random_blocks._SCALES) | {"F32", "F16", "BF16", "MXFP4", "NVFP4", "IQ1_M"})


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_finite_and_spread_like_trained_ones(name):
    from gguf.quants import dequantize

    kind = getattr(gguf.GGMLQuantizationType, name)
    block, size = GGUF_BLOCKS[name]
    assert random_blocks.block_bytes(name) == size // (block if block == 1 else 1)
    blocks = 512 if block > 1 else 512 * 256
    raw = np.frombuffer(random_blocks.pool(name)[: blocks * size], dtype=np.uint8).reshape(-1, blocks * size)
    values = dequantize(raw.view({"F32": "<f4", "F16": "<f2"}.get(name, "u1")), kind)
    assert np.isfinite(values).all()
    assert 0.004 < float(values.std()) < 0.1, f"{name} spreads by {values.std():.4f}"
    assert abs(float(values.mean())) < 0.5 * float(values.std())


def test_every_planned_type_can_be_written_and_made():
    assert set(WEIGHTS) <= set(TYPE_IDS)
    ids = {k.name: int(k) for k in gguf.GGMLQuantizationType}
    assert {name: ids[name] for name in TYPE_IDS} == TYPE_IDS


def test_chunks_add_up_and_begin_at_a_block():
    size = 3 * random_blocks.POOL + 144 * 5
    pieces = list(random_blocks.chunks("Q4_K", size, seed=17))
    assert sum(len(p) for p in pieces) == size
    scale = random_blocks.pool("Q4_K")[:4]
    assert all(bytes(p[:4]) == scale for p in pieces), "a chunk that does not begin with a block's scales is garbage"


def test_two_tensors_differ():
    first, second = (b"".join(random_blocks.chunks("Q6_K", 210 * 50, seed)) for seed in (1, 2))
    assert first != second
