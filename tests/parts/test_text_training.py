import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onecard.core.errors import BadFile, BadSetting
from onecard.core.settings import make
from onecard.parts.epochs import plan_epochs, split
from onecard.parts.text_nets import NETS, config_fields, read_config
from onecard.workloads import get

CASES = [
    ("classify-text", {"model": "bert-base", "length": 256, "batch": 16}),
    ("classify-text", {"model": "bert-base", "length": 256, "batch": 16, "precision": "fp32"}),
    ("classify-text", {"model": "bert-base", "length": 256, "batch": 16, "micro_batch": 4}),
    ("classify-text", {"model": "bert-base", "length": 512, "batch": 16, "checkpointing": True}),
    ("classify-text", {"model": "gpt2", "length": 256, "batch": 8}),
    ("translate", {"model": "bart-base", "batch": 16}),
    ("translate", {"model": "t5-base", "batch": 16}),
    ("summarise", {"model": "t5-base", "length": 512, "batch": 8}),
    ("summarise", {"model": "bart-base", "length": 1024, "target_length": 128, "batch": 4}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "values"), CASES, ids=str)
def test_the_closed_form_is_what_the_trace_of_the_same_step_holds(name, values):
    pytest.importorskip("transformers")
    if sys.platform != "linux":
        pytest.skip("fake CUDA without a GPU is Linux only")
    source = Path(__file__).parent.parent.parent / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(Path(__file__).with_name("traced_text.py")), name, json.dumps(values)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, env=environment, check=True)
    traced = json.loads(done.stdout)
    traced.pop("context", None)
    phase = get(name).cost(make(get(name).settings, values)).phases[0]
    counted = {p.name: p.bytes.likely for p in phase.parts if p.only != "cpu"}
    assert counted["optimizer"] == pytest.approx(traced["optimizer"], rel=0.002)
    assert sum(counted.values()) == pytest.approx(sum(traced.values()), rel=0.05)


# Published sizes, as transformers counts them (Marian's fixed position tables included)
PUBLISHED = {
    "bert-base": (2, 109_483_778),
    "bert-large": (2, 335_143_938),
    "distilbert-base": (2, 66_955_010),
    "gpt2": (2, 124_441_344),
    "t5-small": (0, 60_506_624),
    "t5-base": (0, 222_903_552),
    "bart-base": (0, 139_420_416),
    "bart-large": (0, 406_291_456),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    classes, parameters = PUBLISHED[name]
    assert NETS[name].parameters(classes) == parameters


@pytest.mark.parametrize("name", NETS)
def test_a_config_is_read_back_as_the_same_shape(name):
    net = NETS[name]
    fields = config_fields(net, 0.1) | {"model_type": net.family}
    again = read_config(json.dumps(fields).encode(), "config.json")
    assert (again.parameters(2), again.encoder, again.decoder) == (net.parameters(2), net.encoder, net.decoder)


@pytest.mark.parametrize("content", [b"{", b'{"model_type": "mamba"}', b'{"model_type": "bert", "vocab_size": 10}'])
def test_configs_that_are_not_ours_are_refused(content):
    with pytest.raises(BadFile):
        read_config(content, "config.json")


def test_every_epoch_sees_every_row_once():
    course = plan_epochs(37, epochs=3, steps=None, batch=8, micro=3, rate=1e-3, seed=5)
    assert course.batch % course.micro == 0
    seen = [i for step in range(37) for i in course.of(step)]
    for epoch in range(8):
        assert sorted(seen[epoch * 37 : (epoch + 1) * 37]) == list(range(37))
    assert seen[:37] != seen[37:74]


def test_a_split_loses_nothing():
    train, held = split(100, 0.1, seed=1)
    assert sorted(train + held) == list(range(100))
    assert len(held) == 10
    assert split(2, 0.9, seed=1)[0]


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.0}, {"checkpointing": True}, {"micro_batch": 8}], ids=str)
def test_on_a_processor_it_is_what_a_real_step_holds(changes):
    """Attention with dropout keeps its scores there; without, fused attention keeps none."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from onecard.tracing.storages import Storages
    from onecard.tracing.tracker import RealTrace, Watcher

    work = get("classify-text")
    given = {"length": 64, "batch": 32, "micro_batch": 32, "checkpointing": False, "precision": "fp32", **changes}
    settings = make(work.settings, given)
    state = work.build(settings)
    work.step(state)
    watcher = Watcher(Storages("cpu"), correct=True)
    with torch.autograd.set_multithreading_enabled(False), RealTrace(watcher):
        work.step(state)
    comes_and_goes = [p for p in work.cost(settings).phases[0].parts if p.name in ("activations", "gradients")]
    assert sum(p.bytes.likely for p in comes_and_goes) == pytest.approx(watcher.storages.peak, rel=0.15)


@pytest.mark.parametrize("beams", [1, 3])
def test_the_cache_of_writing_is_what_generate_keeps(beams):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from onecard.engines.text_model import build_net
    from onecard.parts.text_training import TextStep, phases
    from onecard.workloads.summarise import TINY

    torch.manual_seed(0)
    net = build_net(TINY, classes=0, dropout=0.0, checkpointing=False).eval()
    ids = torch.randint(3, 500, (4, 20))
    made = net.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        min_new_tokens=12,
        num_beams=beams,
        return_dict_in_generate=True,
    )
    cache = made.past_key_values
    kept = sum(
        t.numel() * t.element_size()
        for part in (cache.self_attention_cache, cache.cross_attention_cache)
        for layer in part.layers
        for t in (layer.keys, layer.values)
    )
    step = TextStep(net=TINY, batch=4, micro=4, length=20, target=12, bf16=False, beams=beams)
    found = phases(step, steps=0, evaluations=1, held_out=0, written=4)
    assert [p.name for p in found] == ["write"]
    counted = next(p.bytes.likely for p in found[0].parts if p.name == "kv_cache")
    assert counted == pytest.approx(kept, rel=0.04)


def test_only_what_is_done_is_a_phase(tmp_path):
    translate = get("translate")
    (tmp_path / "asked.txt").write_text("one\ntwo\n")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("source,target\n" + "a,b\n" * 40)

    def names(**given):
        return [p.name for p in translate.cost(make(translate.settings, given)).phases]

    assert names() == ["train", "evaluate", "write", "save", "export"]
    assert names(model="t5-small", translate=str(tmp_path / "asked.txt")) == ["write"]
    assert names(data=str(pairs), steps=0) == ["evaluate", "write"]
    with pytest.raises(BadSetting, match="nothing to do"):
        names(model="t5-small", steps=0)
