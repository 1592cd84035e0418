import json
import shutil

import msgspec
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("peft")

from tiny_models import write_llama

from onecard.core.errors import BadSetting
from onecard.core.settings import make
from onecard.engines import checkpoint, sft
from onecard.engines.course import losses
from onecard.workloads import finetune
from onecard.workloads.finetune import Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory, text):
    return str(write_llama(tmp_path_factory.mktemp("model") / "tiny", text))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Thirty questions whose answer has one form: something small to learn."""
    file = tmp_path_factory.mktemp("data") / "qa.jsonl"
    things = [
        "a module",
        "a class",
        "an object",
        "a name",
        "a value",
        "the import",
        "a list",
        "a set",
        "a loop",
        "a call",
    ]
    rows = [
        {"question": f"What is {thing}{mark}", "answer": f"{thing} is a statement."}
        for mark in "?!."
        for thing in things
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.fixture
def settings(model, data):
    def make_settings(**changes):
        return {
            "model": model,
            "data": data,
            "method": "lora",
            "sequence": 40,
            "batch": 8,
            "micro_batch": 4,
            "checkpointing": False,
            "steps": 8,
            "learning_rate": 2e-2,
            "precision": "fp32",
            "export": "adapter",
            **changes,
        }

    return make_settings


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("lora", {}),
        ("qlora", {"precision": "bf16", "checkpointing": True}),
        ("full", {"learning_rate": 5e-3, "precision": "bf16"}),
        ("lora", {"optimizer": "adafactor", "target": "qv", "packing": True}),
    ],
)
def test_it_learns(run_workload, settings, method, changes):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    ran = run_workload("finetune", settings(method=method, **changes))
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    assert quality["steps"] == 8
    assert quality["validation_loss"] < quality["validation_loss_before"] - 0.05
    assert quality["training_loss_last"] < quality["training_loss_first"] - 0.05
    answers = [json.loads(line) for line in (ran.folder / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 3
    assert all(set(a) == {"question", "before", "after", "wanted"} for a in answers)


@pytest.mark.slow
def test_kill_and_resume_equals_the_uninterrupted_run_exactly(run_workload, settings):
    whole = run_workload("finetune", settings(), folder="whole")

    def killed(event):
        if event["event"] == "phase" and event["name"] == "evaluate" and killed.seen:
            raise KeyboardInterrupt
        killed.seen = killed.seen or (event["event"] == "validation" and event["step"] == 5)

    killed.seen = False
    first = run_workload("finetune", settings(), folder="killed", on_event=killed)
    assert first.ending.outcome == "stopped"
    assert checkpoint.last(first.folder).step == 5
    second = run_workload("finetune", settings(), folder="killed")
    assert second.ending.outcome == "ok", second.ending.error
    assert second.of("effective")[0]["settings"]["resumed_at"] == 5
    assert losses(whole.folder) == losses(second.folder)
    assert whole.ending.quality["validation_loss"] == second.ending.quality["validation_loss"]
    weights = [(r.folder / "export" / "adapter" / "adapter_model.safetensors").read_bytes() for r in (whole, second)]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["train", "evaluate", "save"])
def test_out_of_memory_goes_on_with_the_same_steps_and_losses(run_workload, settings, monkeypatch, tmp_path, phase):
    """Injected in the trainer: with parts above two examples a phase has no memory from step 3 on."""
    from trl import SFTTrainer

    from onecard.core.errors import OutOfMemory
    from onecard.execute.guard import climb
    from onecard.execute.journal import Journal

    undisturbed = run_workload("finetune", settings(), folder="whole")
    method = {"train": "training_step", "evaluate": "evaluate", "save": "_save_checkpoint"}[phase]
    kept = getattr(SFTTrainer, method)

    def limited(self, *args, **kwargs):
        size = self.args.per_device_eval_batch_size if phase == "evaluate" else self.args.per_device_train_batch_size
        if self.state.global_step >= 3 and size > 2:
            raise OutOfMemory("injected")
        return kept(self, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, method, limited)
    with Journal(tmp_path / "runs" / "small") as journal:
        result = climb(
            lambda s, _: run_workload("finetune", s, folder="small").ending,
            settings(),
            finetune.ladder(make(Settings, settings())),
            journal,
            tmp_path / "runs" / "small",
        )
    assert result.ending.outcome == "ok", result.ending.error
    assert result.taken[0].changed == ({"eval_batch": 2} if phase == "evaluate" else {"micro_batch": 2})
    assert result.ending.quality["steps"] == 8
    first, second = losses(undisturbed.folder), losses(tmp_path / "runs" / "small")
    assert list(first) == list(second)
    assert all(second[i] == pytest.approx(first[i], rel=2e-3) for i in first)


@pytest.mark.slow
def test_exports_are_opened_again_and_say_the_same(run_workload, settings):
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    from transformers import AutoModelForCausalLM

    ran = run_workload("finetune", settings(export="gguf", steps=4))
    assert ran.ending.outcome == "ok", ran.ending.error
    quality = ran.ending.quality
    assert quality["gguf_agreement"] > 0.9
    place = ran.folder / "export"
    lines = (place / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./model-f16.gguf"
    assert "PARAMETER num_ctx 40" in lines
    merged = AutoModelForCausalLM.from_pretrained(place / "merged")
    base = AutoModelForCausalLM.from_pretrained(settings()["model"])
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(merged.state_dict()[name], base.state_dict()[name])
    assert torch.equal(merged.state_dict()["model.norm.weight"], base.state_dict()["model.norm.weight"])


@pytest.mark.slow
def test_outliers_are_told_before_the_first_step(run_workload, settings, tmp_path):
    rows = [{"prompt": f"Say {i}.", "completion": "yes, a statement"} for i in range(20)]
    rows.append({"prompt": "Say all.", "completion": "a statement " * 2000})
    file = tmp_path / "long.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    ran = run_workload("finetune", settings(data=str(file), steps=2, seed=1))
    assert ran.ending.outcome == "ok", ran.ending.error
    told = ran.of("lengths")[0]
    assert told["truncated"] == 1
    assert told["longest"] > 4000
    assert told["tokens_lost"] > 0.9
    shown = " ".join(e["text"] for e in ran.of("log"))
    assert "outliers" in shown
    assert "lose their end" in shown
    assert ran.events.index(ran.of("lengths")[0]) < ran.events.index(ran.of("validation")[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_prove_takes_the_trainers_step_with_synthetic_weights(run_workload, settings, method):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    ran = run_workload("finetune", settings(method=method), mode="prove")
    assert ran.ending.outcome == "ok", ran.ending.error
    assert "train_tokens_per_s" in {m["name"] for m in ran.of("measured")}


@pytest.mark.slow
def test_a_model_without_weights_is_one_clear_error(run_workload, settings, tmp_path):
    folder = tmp_path / "empty"
    shutil.copytree(settings()["model"], folder, ignore=shutil.ignore_patterns("*.safetensors"))
    ran = run_workload("finetune", settings(model=str(folder)))
    assert ran.ending.outcome == "failed"
    assert "could not be loaded" in ran.ending.what
    assert "folder" in ran.ending.next


@pytest.mark.slow
def test_prompts_that_fill_the_sequence_leave_nothing_to_learn(run_workload, settings):
    ran = run_workload("finetune", settings(sequence=8))
    assert ran.ending.outcome == "failed"
    assert "anything to learn within 8 tokens" in ran.ending.what


def test_only_the_completion_is_learnt(model, data):
    from onecard.engines.conversations import examples

    tokenizer = sft.load_tokenizer(model)
    found = examples(data)[:3]
    for example, row in zip(found, sft.tokenised(found, tokenizer), strict=True):
        learnt = [t for t in row["labels"] if t != -100]
        assert tokenizer.decode(learnt, skip_special_tokens=True) == example.completion
        assert learnt[-1] == tokenizer.eos_token_id
        assert len(row["labels"]) == len(row["input_ids"])


# --- cost and ladder


def test_methods_cost_what_the_literature_says():
    """QLoRA, arXiv 2305.14314: 4-bit base of a 7B model under 4 GiB; full training in 16-bit AdamW takes 8 bytes a weight."""

    def parts(**changes):
        values = {"model": "llama-2-7b", "sequence": 512, "micro_batch": 1, "checkpointing": True, **changes}
        phase = finetune.cost(make(Settings, values)).phases[0]
        return {p.name: p.bytes.likely for p in phase.parts}

    small, half, full = parts(method="qlora"), parts(method="lora"), parts(method="full")
    assert 3.4 < (small["weights"]) / 2**30 < 4.2
    assert half["weights"] / 2**30 == pytest.approx(12.55 + 0.15, rel=0.02)
    assert (full["weights"] + full["optimizer"]) == pytest.approx(6 * 6_738_415_616, rel=0.001)
    assert half["optimizer"] < full["optimizer"] / 50


def test_rungs_keep_the_effective_batch():
    settings = make(Settings, {"model": "llama-3.2-1b", "method": "lora", "batch": 12, "attention": "eager"})
    for rung in finetune.ladder(settings):
        settings = msgspec.structs.replace(settings, **rung.changed)
        tuning = finetune.tuning_of(settings)
        assert tuning.batch == 12
        assert tuning.batch % tuning.micro == 0
    assert (settings.micro_batch, settings.eval_batch) == (1, 1)
    assert settings.checkpointing
    assert settings.attention == "sdpa"
    assert settings.sequence == 1024


def test_a_gguf_file_cannot_be_fine_tuned(tmp_path, monkeypatch):
    from onecard import catalog
    from onecard.catalog import model

    known = msgspec.structs.replace(model("llama-3.2-1b"), file=str(tmp_path / "a.gguf"))
    monkeypatch.setattr(catalog, "model", lambda name: known, raising=False)
    with pytest.raises(BadSetting, match="GGUF"):
        finetune.model_of("a.gguf")


def test_epochs_become_steps_by_the_rows_of_the_file(model, data):
    """27 of 30 rows are learnt from, 8 a step."""
    given = {"model": model, "data": data, "batch": 8, "epochs": 3.0}
    assert finetune.steps_of(make(Settings, given)) == 11
    assert finetune.steps_of(make(Settings, {**given, "steps": 5})) == 5
    assert finetune.steps_of(make(Settings, {"model": model})) == 100


@pytest.mark.slow
def test_a_run_by_epochs_ends_where_the_plan_said(run_workload, settings):
    ran = run_workload("finetune", settings(steps=None, epochs=2.0))
    assert ran.ending.outcome == "ok", ran.ending.error
    assert ran.ending.quality["steps"] == 7 == finetune.steps_of(make(Settings, settings(steps=None, epochs=2.0)))


def test_a_gptq_base_is_priced_and_not_run(model):
    """Half a byte a weight, its groups' scales and zeros, as nf4 within 2 %; running it is refused with the way out."""
    peaks = {}
    for method in ("lora", "qlora", "gptq"):
        settings = make(Settings, {"model": "llama-3.1-8b", "method": method, "micro_batch": 1})
        parts = {p.name: p.bytes.likely for p in finetune.cost(settings).phases[0].parts}
        peaks[method] = parts["weights"]
    assert peaks["gptq"] == pytest.approx(peaks["qlora"], rel=0.02)
    assert peaks["gptq"] < 0.45 * peaks["lora"]
    with pytest.raises(BadSetting, match="priced, not run"):
        finetune.needs(make(Settings, {"model": model, "method": "gptq"}))
