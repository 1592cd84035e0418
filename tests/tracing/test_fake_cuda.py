"""Each patch is needed: without it, its own probe fails, and with all of them all pass."""

import contextlib
import subprocess
import sys
from collections import Counter

import pytest

from onecard.core.errors import OnecardError
from onecard.tracing.fake_cuda import check


def nothing(*arguments, **options):
    return contextlib.nullcontext(Counter())


def test_all_probes_pass_with_the_installed_torch():
    assert check.probe() is None


@pytest.mark.parametrize(
    ("patch", "probe"),
    [
        ("card.card", "autocast"),
        ("parameters.movable_parameters", "Module.to"),
        ("parameters.horizontal_optimizers", "foreach"),
        ("attention.attention", "attention"),
        ("host.host", "generators"),
    ],
)
def test_without_a_patch_its_probe_fails(monkeypatch, patch, probe):
    monkeypatch.setattr(f"onecard.tracing.fake_cuda.{patch}", nothing)
    failed = check.probe()
    assert failed is not None
    assert failed.startswith(probe)


@pytest.mark.slow
@pytest.mark.parametrize(("patch", "symptom"), [("install_guard", "tensors on cuda"), ("install_hooks", "gradients")])
def test_without_a_native_patch_the_process_refuses_or_crashes(patch, symptom):
    code = (
        "from onecard.tracing.fake_cuda import check, native\n"
        f"native.{patch} = lambda *a: None\n"
        "print(check.probe(), flush=True)\nimport os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 or done.stdout.startswith(symptom)


def test_a_torch_that_fails_its_probes_is_refused_with_version_and_reason(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'failed: tensors on cuda: RuntimeError'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("ONECARD_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(OnecardError, match="cannot pretend to have a card: tensors on cuda") as refusal:
        check.require_fake_cuda()
    assert "2.13" in refusal.value.why
    assert "CPU" in refusal.value.why
    assert not list(tmp_path.glob("cache/fake_cuda/*.txt"))


def test_everything_is_undone_afterwards(trace_of):
    import torch

    before = (
        torch.cuda.is_available,
        torch.utils.swap_tensors,
        torch.Generator,
        torch.compile,
        torch.Tensor.pin_memory,
    )
    trace_of(lambda: lambda: torch.empty(2, device="cuda"))
    after = (torch.cuda.is_available, torch.utils.swap_tensors, torch.Generator, torch.compile, torch.Tensor.pin_memory)
    assert before == after
    assert not torch.cuda.is_available()


def test_a_compiled_function_runs_eagerly_and_the_cost_says_so(trace_of):
    import torch

    def build():
        layer = torch.compile(torch.nn.Linear(4, 4).cuda())
        return lambda: layer(torch.ones(2, 4, device="cuda")).sum().backward()

    assert any("torch.compile" in note for note in trace_of(build).cost().notes)


def test_a_loss_without_a_fake_kernel_has_one_here(trace_of):
    import torch

    def build():
        lengths = torch.full((4,), 50, device="cuda"), torch.full((4,), 10, device="cuda")
        targets = torch.ones(4, 10, dtype=torch.long, device="cuda")

        def step():
            scores = torch.randn(50, 4, 20, device="cuda", requires_grad=True).log_softmax(2)
            torch.nn.functional.ctc_loss(scores, targets, *lengths).backward()

        return step

    sizes = trace_of(build).storages.sizes
    assert 4 * 50 * (2 * 10 + 1) * 4 in sizes  # log alpha: batch x time x (2 target + 1), fp32


def test_transformers_leaves_the_mask_away_as_on_a_card(trace_of):
    transformers = pytest.importorskip("transformers")
    import torch

    def build():
        config = transformers.LlamaConfig(
            hidden_size=128, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
        )
        model = transformers.LlamaForCausalLM(config).to("cuda", torch.bfloat16)
        ids = torch.zeros(1, 64, dtype=torch.long, device="cuda")
        return lambda: model(input_ids=ids, attention_mask=torch.ones_like(ids))

    assert trace_of(build).attention == {"flash": 2}


@pytest.mark.parametrize("make", ["tensor", "as_tensor"])
@pytest.mark.parametrize("mode", ["inference_mode", "no_grad", "enable_grad"])
def test_numbers_of_the_host_come_to_the_card_in_every_mode(trace_of, make, mode):
    """diffusers makes its time steps so: torch.tensor([t], device=...)."""
    torch = pytest.importorskip("torch")

    def build():
        def step():
            with getattr(torch, mode)():
                made = getattr(torch, make)([1.0, 2.0], device="cuda")
                return torch.ones(2, device="cuda") + made

        return step

    assert list(trace_of(build).storages.events().sizes).count(8) >= 2, (
        "two numbers of 4 bytes: those of the host, and ones"
    )


@pytest.mark.slow
def test_inference_mode_shows_the_kernels_that_no_grad_shows(trace_of):
    """PyTorch hands a mode whole linear layers and attentions there; they are taken apart as in a plain run."""
    import torch

    def build(mode):
        layer = torch.nn.Linear(64, 64, device="cuda", dtype=torch.float16)
        x = torch.ones(1, 2, 16, 64, device="cuda", dtype=torch.float16)

        def step():
            with mode():
                q = layer(x)
                end = torch.tensor(5, device="cuda")  # a constant, made in inference mode
                return torch.nn.functional.scaled_dot_product_attention(q, q, q)[..., end.item() :]

        return step

    traces = [trace_of(lambda mode=mode: build(mode)) for mode in (torch.no_grad, torch.inference_mode)]
    assert traces[0].storages.sizes == traces[1].storages.sizes
    assert traces[0].attention == traces[1].attention == {"flash": 2}
    flops = [[o.flops for p in t.cost().phases for o in p.operations if o.flops] for t in traces]
    assert flops[0] == flops[1] != []


def test_a_model_is_copied_deeply(trace_of):
    import copy

    import torch

    copies = []

    def build():
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).cuda()
        copies.append(copy.deepcopy(net))
        return lambda: copies[0](torch.ones(2, 3, 8, 8, device="cuda"))

    trace = trace_of(build)
    assert [type(p).__name__ for p in copies[0].parameters()]
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in copies[0].parameters())
    assert trace.storages.sizes.count(3 * 8 * 9 * 4) >= 2  # the weight of the convolution, and its copy


def test_distributions_of_unknown_numbers_and_one_card_in_parallel(trace_of):
    import torch

    def build():
        net = torch.nn.DataParallel(torch.nn.Linear(8, 4)).cuda()

        def step():
            chance = torch.distributions.Categorical(logits=net(torch.randn(8, device="cuda")))
            return chance.log_prob(chance.sample()).item()

        return step

    before = torch.distributions.Distribution._validate_args
    trace_of(build)
    assert torch.distributions.Distribution._validate_args is before


def test_the_inside_of_an_encoder_layer_is_seen_in_evaluation(trace_of):
    import torch

    def build():
        layer = torch.nn.TransformerEncoderLayer(64, 2, 4096, batch_first=True, device="cuda").eval()
        x = torch.zeros(2, 32, 64, device="cuda")

        def step():
            with torch.no_grad():
                return layer(x)

        return step

    assert 2 * 32 * 4096 * 4 in trace_of(build).storages.sizes  # the wide layer between its two linear ones
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_device_context_still_changes_what_makes_tensors_after_a_trace_and_in_it(trace_of):
    import torch
    from torch.utils import _device

    _device._device_constructors.cache_clear()  # as in a process that has not used a device context yet
    seen = []

    def build():
        with torch.device("cuda"):
            seen.append(torch.tensor([1.0]).device.type)
        return lambda: torch.ones(1, device="cuda")

    trace_of(build)
    with torch.device("meta"):
        seen.append(torch.tensor([1.0]).device.type)
    assert seen == ["cuda", "meta"]
