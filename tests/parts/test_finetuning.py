import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onecard.catalog import model
from onecard.core.errors import UnknownName
from onecard.core.settings import make
from onecard.parts.lora import adapted, lora_parameters
from onecard.parts.optimizer import state_bytes, step_operation
from onecard.workloads import finetune

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 64,  # so small that the loss without Triton, which this CPU has, hardly counts
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "micro", "checkpointing", "precision"),
    [
        ("lora", 8, False, "bf16"),
        ("lora", 8, True, "bf16"),
        ("full", 8, False, "bf16"),
        ("full", 4, False, "mixed"),
        ("lora", 8, False, "fp32"),
    ],
)
def test_the_closed_form_is_what_the_trace_of_trls_step_holds(tmp_path, method, micro, checkpointing, precision):
    pytest.importorskip("trl")
    if sys.platform != "linux":
        pytest.skip("fake CUDA without a GPU is Linux only")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    values = {
        "model": str(tmp_path),
        "method": method,
        "sequence": 512,
        "batch": 8,
        "micro_batch": micro,
        "checkpointing": checkpointing,
        "precision": precision,
    }
    source = Path(__file__).parent.parent.parent / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    script = [sys.executable, str(Path(__file__).with_name("traced_finetune.py")), json.dumps(values)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=180, env=environment, check=True)
    traced = json.loads(done.stdout.splitlines()[-1])
    traced.pop("context", None)
    phase = finetune.cost(make(finetune.Settings, values)).phases[0]
    counted = {p.name: p.bytes.likely for p in phase.parts if p.only != "cpu"}
    assert counted["weights"] == pytest.approx(traced["weights"], rel=0.01)
    assert counted["optimizer"] == pytest.approx(traced["optimizer"], rel=0.01)
    # Real batches are padded: they keep a mask in each layer, and keys and values repeated for all heads. The traced one
    # is not padded, so transformers leaves out the mask and, with flash attention, the repetition: counted is above.
    mask = (1 if checkpointing else 8) * micro * 512 * 512 * (4 if precision == "fp32" else 2)
    assert 0.97 <= (sum(counted.values()) - mask) / sum(traced.values()) <= 1.06


def test_lora_parameters_are_those_that_peft_prints():
    """peft's print_trainable_parameters for r = 8 on q_proj and v_proj of Llama-2-7B: 4,194,304."""
    llama = model("llama-2-7b")
    assert lora_parameters(llama, 8, "qv") == 4_194_304
    assert lora_parameters(llama, 16, "attention") == 16 * 4 * 32 * (4096 + 4096)
    assert len(adapted(llama, "all")) == 7 * 32
    with pytest.raises(UnknownName, match="LoRA target"):
        lora_parameters(llama, 8, "head")


def test_optimizer_states_are_what_torch_and_bitsandbytes_keep():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(64, 128))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = sum(v.nbytes for v in optimizer.state[weight].values() if v.dim())
    assert state_bytes("adamw", [(64, 128)]) == kept
    assert state_bytes("sgd", [(64, 128)]) == 0
    assert state_bytes("adamw8bit", [(64, 128)]) == 2 * 8192 + 2 * 4 * 32
    assert state_bytes("adamw8bit", [(16,)]) == 8 * 16
    with pytest.raises(UnknownName, match="adamv"):
        state_bytes("adamv", [(1,)])


def test_adafactor_keeps_what_transformers_adafactor_keeps():
    torch = pytest.importorskip("torch")
    Adafactor = pytest.importorskip("transformers.optimization").Adafactor

    weights = [torch.nn.Parameter(torch.zeros(*shape)) for shape in ((64, 128), (32,))]
    optimizer = Adafactor(weights, lr=1e-3, relative_step=False, scale_parameter=False)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = sum(v.nbytes for w in weights for v in optimizer.state[w].values() if torch.is_tensor(v) and v.dim())
    assert state_bytes("adafactor", [(64, 128), (32,)]) == kept


def test_a_step_moves_weights_gradients_and_moments():
    """AdamW in fp32: reads 16 bytes and writes 12 for each parameter; clipping reads 8 and writes 4 more."""
    found = step_operation("adamw", 1000.0)
    assert (found.read, found.written) == (24_000.0, 16_000.0)
    assert step_operation("adamw", 1000.0, clip=False).read == 16_000.0
