import time

import msgspec
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from onecard.core.errors import BadSetting, UnknownName
from onecard.core.settings import make
from onecard.engines import checkpoint, course
from onecard.workloads import pretrain
from onecard.workloads.pretrain import Settings

TINY = {
    "depth": 2,
    "aspect": 16,
    "head_dim": 16,
    "context": 16,
    "tokenizer": "characters",
    "batch": 8,
    "micro_batch": 8,
    "checkpointing": False,
    "steps": 20,
    "export": False,
}


def state_of(folder):
    made, state = checkpoint.load(folder)
    return made.step, state


def same(a, b):
    """Whether two checkpoints hold the same net and optimizer, to the bit."""
    nets = all(torch.equal(a["net"][k], b["net"][k]) for k in a["net"])
    moments = [
        torch.equal(a["optimizer"]["state"][i][k], b["optimizer"]["state"][i][k])
        for i in a["optimizer"]["state"]
        for k in a["optimizer"]["state"][i]
    ]
    return nets and all(moments)


@pytest.mark.slow
def test_training_beats_the_bigram_table(run_workload, text):
    """0.13 M parameters, 16 s on one core: below what knowing the previous character is worth."""
    settings = TINY | {"corpus": str(text), "depth": 2, "aspect": 32, "context": 48, "batch": 16, "micro_batch": 16}
    ran = run_workload("pretrain", settings | {"steps": 450, "learning_rate": 4e-3})
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    assert quality["nats_below_bigram"] > 0.1
    losses = course.losses(ran.folder)
    assert sorted(losses) == list(range(1, 451))
    assert sum(losses[i] for i in range(431, 451)) / 20 < losses[1] - 2.0
    assert quality["steps"] == 450
    assert quality["tokens"] == 450 * 16 * 48
    assert [e["step"] for e in ran.of("log")][:2] == [0, 45]
    assert (ran.folder / "samples.txt").read_text().count("--- step") == len(ran.of("log"))
    assert [m["name"] for m in ran.of("measured")] == ["train_tokens_per_s"]


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_to_the_bit(run_workload, text):
    settings = TINY | {"corpus": str(text)}
    whole = run_workload("pretrain", settings, folder="whole")
    assert whole.ending.outcome == "ok", whole.ending.error

    def killed(event):
        if event["event"] == "validation" and event["step"] == 8:
            raise KeyboardInterrupt

    first = run_workload("pretrain", settings, folder="killed", on_event=killed)
    assert first.ending.outcome == "stopped"
    assert state_of(first.folder)[0] == 6
    second = run_workload("pretrain", settings, folder="killed")
    assert second.of("effective")[0]["settings"]["resumed_at"] == 6
    assert state_of(whole.folder)[0] == state_of(second.folder)[0] == 20
    assert same(state_of(whole.folder)[1], state_of(second.folder)[1])
    assert course.losses(whole.folder) == course.losses(second.folder)
    assert whole.ending.quality["validation_loss"] == second.ending.quality["validation_loss"]


def test_a_smaller_micro_batch_is_the_same_run(text):
    """Same data, same effective batch: the losses differ by rounding alone."""
    from onecard.engines import corpus

    losses = []
    for micro in (8, 2):
        settings = make(Settings, TINY | {"micro_batch": micro, "precision": "fp32"})
        state = pretrain.build(settings)
        tokens = torch.randint(0, 257, (4000,), generator=torch.Generator().manual_seed(3))
        state.batch = lambda step, tokens=tokens: corpus.windows(tokens, 8, 16, seed=1, step=step)
        losses.append(torch.stack([pretrain.step(state) for _ in range(10)]))
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_on_time_the_run_measures_itself_and_ends(run_workload, text):
    settings = TINY | {"corpus": str(text), "steps": None, "ratio": 1000.0, "time": "6s"}
    planned = pretrain.course_of(make(Settings, settings)).steps
    start = time.monotonic()
    ran = run_workload("pretrain", settings)
    assert ran.ending.outcome == "ok", ran.ending.error
    chosen = ran.of("course")[0]["steps"]
    assert 20 < chosen < planned
    assert ran.ending.quality["steps"] <= chosen
    assert time.monotonic() - start < 30
    assert state_of(ran.folder)[0] == ran.ending.quality["steps"]


@pytest.mark.slow
def test_export_is_opened_by_transformers_and_says_the_same(run_workload, text):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    settings = TINY | {"corpus": str(text), "tokenizer": "bpe", "vocab": 320, "export": True, "steps": 12}
    ran = run_workload("pretrain", settings)
    assert ran.ending.outcome == "ok", ran.ending.error
    folder = ran.folder / "export"
    words = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = words("The statement is executed", return_tensors="pt").input_ids[:, :16]
    state = pretrain.build(make(Settings, settings | {"precision": "fp32"}))
    best = checkpoint.best(ran.folder)
    state.net.load_state_dict(checkpoint.load(ran.folder, step=best.step)[1]["net"])
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, state.net.logits(state.net.stream(ids)), atol=1e-5)
    assert (folder / "model-f16.gguf").stat().st_size > 2 * state.course.shape.parameters


@pytest.mark.slow
def test_a_checkpoint_of_another_net_is_refused(run_workload, text):
    settings = TINY | {"corpus": str(text), "steps": 2}
    run_workload("pretrain", settings)
    ran = run_workload("pretrain", settings | {"depth": 3})
    assert ran.ending.outcome == "failed"
    assert "another net" in ran.ending.what
    assert ran.ending.next


@pytest.mark.slow
def test_damaged_checkpoints_stop_the_run_and_stay(run_workload, text):
    settings = TINY | {"corpus": str(text), "steps": 2}
    ran = run_workload("pretrain", settings)
    for payload in (ran.folder / "checkpoints").glob("*.pt"):
        payload.write_bytes(b"torn")
    again = run_workload("pretrain", settings)
    assert again.ending.outcome == "failed"
    assert "can be read" in again.ending.what
    assert list((ran.folder / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_no_disk_is_said_before_the_first_step(run_workload, text, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
    ran = run_workload("pretrain", TINY | {"corpus": str(text)})
    assert ran.ending.outcome == "failed"
    assert "disk are needed" in ran.ending.what
    assert not ran.of("progress")


@pytest.mark.parametrize("values", [{"time": "soon"}, {"depth": 0}, {"batch": 0}, {"precision": "fp7"}])
def test_bad_settings_are_refused_by_name(values):
    with pytest.raises((BadSetting, UnknownName)) as caught:
        pretrain.cost(make(Settings, TINY | values))
    assert next(iter(values.values())).__str__() in str(caught.value)


@pytest.mark.slow
def test_prove_takes_the_same_steps_with_synthetic_tokens(run_workload):
    ran = run_workload("pretrain", TINY, mode="prove")
    assert ran.ending.outcome == "ok", ran.ending.error
    names = {m["name"] for m in ran.of("measured")}
    assert {"step_seconds", "train_tokens_per_s"} <= names


# --- cost and ladder: no torch needed


def peak(values):
    return max(p.memory().likely for p in pretrain.cost(make(Settings, TINY | values)).phases)


def test_cost_grows_with_what_should_cost():
    base = peak({})
    assert peak({"context": 32}) > base
    assert peak({"depth": 3}) > base
    assert peak({"micro_batch": 2}) < base
    assert peak({"precision": "fp32"}) > 0
    big = {"depth": 8, "aspect": 64, "context": 512, "batch": 32, "micro_batch": 32}
    assert peak(big | {"checkpointing": True}) < peak(big)


def test_the_gpt2_size_is_the_known_number():
    """Llama layout at GPT-2's widths: 12 layers of 4 w^2 + 3 w f, f = 2048 and one table of 50,304 x 768."""
    settings = make(Settings, {"depth": 12, "vocab": 50304})
    assert pretrain.shape_of(settings).parameters == 12 * (4 * 768**2 + 3 * 768 * 2048) + 50304 * 768


def test_every_rung_keeps_batch_steps_and_rate():
    settings = make(Settings, TINY | {"batch": 12, "micro_batch": 12})
    before = pretrain.course_of(settings)
    for rung in pretrain.ladder(settings):
        settings = msgspec.structs.replace(settings, **rung.changed)
        after = pretrain.course_of(settings)
        assert (after.batch, after.steps, after.learning_rate) == (before.batch, before.steps, before.learning_rate)
        assert after.batch % after.micro == 0
    assert settings.micro_batch == 1
    assert settings.checkpointing
    assert settings.context == TINY["context"]


def test_the_context_shrinks_only_where_that_is_allowed():
    assert not any("context" in r.changed for r in pretrain.ladder(make(Settings, TINY)))
    assert pretrain.ladder(make(Settings, TINY | {"shorter": True}))[-1].changed == {"context": 8}


def test_choices_never_need_more_memory_further_down():
    settings = make(Settings, {"head_dim": 16})
    for choice in pretrain.choices(settings):
        others = {"depth": 4, "micro_batch": 8, "checkpointing": False, "batch": 32}
        peaks = [peak({**others, choice.setting: option}) for option in choice.options]
        assert peaks == sorted(peaks, reverse=True), choice.setting
