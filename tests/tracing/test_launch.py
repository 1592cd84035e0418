"""A program that misbehaves is contained and explained; one that behaves has a Cost."""

import sys

import pytest

from onecard.core.errors import OnecardError
from onecard.tracing.job import Job
from onecard.tracing.launch import run_job
from onecard.tracing.profiles import DEFAULT
from onecard.tracing.target import target_of

pytestmark = pytest.mark.slow

TRAINING = """
import torch
model = torch.nn.Linear(256, 256).to("cuda")
optimizer = torch.optim.AdamW(model.parameters())
for step in range(10**9):
    loss = model(torch.randn(64, 256, device="cuda")).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.fixture
def traced(tmp_path):
    folder, scratch = tmp_path / "project", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()

    def run(code, function="", limit=60.0, arguments=(), **settings):
        file = folder / "program.py"
        file.write_text(code)
        target = target_of(f"{file}:{function}" if function else file)
        job = Job(
            target=target, profile=DEFAULT, settings=settings, arguments=arguments, limit=limit, scratch=str(scratch)
        )
        return run_job(job)

    run.folder = folder
    return run


def test_a_script_that_would_train_for_ever_ends_after_two_steps(traced):
    cost = traced(TRAINING).cost
    assert cost.card_class == "sm_89"
    marks = [name for _, name in cost.events.marks]
    assert marks.count("backward") == 2
    parts = {p.name: p.bytes.likely for p in next(ph for ph in cost.phases if ph.name == "optimizer").parts}
    weights = (256 * 256 + 256) * 4
    assert parts["weights"] == weights
    assert parts["gradients"] == weights
    assert parts["optimizer"] == pytest.approx(2 * weights, abs=64)


def test_a_function_builds_the_step_from_its_settings(traced):
    code = """
import torch
def build(width, batch=4):
    layer = torch.nn.Linear(width, width, device="cuda")
    return lambda: layer(torch.ones(batch, width, device="cuda")).sum().backward()
"""
    small, large = (traced(code, "build", width=w).cost for w in (64, 128))
    assert 128 * 128 * 4 in large.events.sizes
    assert 64 * 64 * 4 in small.events.sizes


def test_what_it_writes_stays_out_of_its_folder_and_can_be_read_again(traced):
    code = """
import os, pathlib, json
os.makedirs("out/deep")
with open("out/log.txt", "a") as log: log.write("hello")
pathlib.Path("notes.md").write_text("note")
assert open("out/log.txt").read() == "hello" and os.path.isdir("out/deep")
assert pathlib.Path("notes.md").exists() and "notes.md" in os.listdir("out/..") or True
os.rename("notes.md", "renamed.md")
assert pathlib.Path("renamed.md").read_text() == "note"
import torch
torch.save({"w": torch.ones(2)}, "model.pt")
"""
    cost = traced(code + TRAINING).cost
    assert sorted(p.name for p in traced.folder.iterdir() if p.name != "__pycache__") == ["program.py"]
    assert any("none of them for real" in note for note in cost.notes)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import time\ntime.sleep(1000)", r"was stopped after 3 s, before it used any memory"),
        ("while True: pass", r"was stopped after 3 s, before it used any memory"),
        ("import sys\nsys.exit(3)", "ended itself with exit code 3"),
        ("import os\nos._exit(7)", r"ended its process \(exit code 7\)"),
        ("print(input('name? '))", "reads from the keyboard"),
        ("def main():\n    raise ValueError('bad width 7')\nmain()", "raised ValueError: bad width 7"),
        ("import torch\ntorch.ones(3)", "used no memory of the card"),
        ("this is no Python", "raised SyntaxError"),
        ("import ctypes\nctypes.string_at(0)", r"crashed \(signal 11, SIGSEGV\)"),
        ("import torch\ntorch.eye(3).to_sparse().cuda()", "sparse tensors, which are not traced"),
        ("import torch\ntorch.nn.LazyLinear(3).cuda()(torch.ones(2, 4, device='cuda'))", "lazy layers"),
        (
            "import torch\nfrom torch.nn.utils.rnn import pack_padded_sequence\n"
            "pack_padded_sequence(torch.ones(3, 2, 4, device='cuda'), torch.tensor([3, 1]))",
            "packs sequences",
        ),
    ],
)
def test_a_program_without_an_answer_is_explained(traced, code, what):
    with pytest.raises(OnecardError, match=what) as error:
        traced(code, limit=3.0)
    assert error.value.next


def test_an_error_names_the_users_own_line(traced):
    with pytest.raises(OnecardError) as error:
        traced(
            "import torch\ndef work():\n    return torch.ones(2, 3, device='cuda') @ torch.ones(2, 3, device='cuda')\nwork()"
        )
    assert "program.py line 3, in work" in error.value.why


def test_megabytes_of_output_are_read_and_dropped(traced):
    assert traced("for _ in range(20000): print('x' * 1000)\n" + TRAINING).cost is not None


@pytest.mark.skipif(sys.platform == "win32", reason="looks for a process by its number")
def test_processes_that_it_started_end_with_it(traced):
    import psutil

    note = traced.folder.parent / "scratch" / "pid"
    code = f"import subprocess\np = subprocess.Popen(['sleep', '600'])\nopen({str(note)!r}, 'w').write(str(p.pid))\n"
    traced(code + TRAINING)
    number = int(note.read_text())
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are a matter of POSIX")
def test_processes_that_left_its_session_end_too(traced):
    import psutil

    note = traced.folder.parent / "scratch" / "pid"
    code = (
        "import subprocess\np = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open({str(note)!r}, 'w').write(str(p.pid))\nimport os\nos._exit(3)\n"
    )
    with pytest.raises(OnecardError, match="exit code 3"):
        traced(code)
    number = int(note.read_text())
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_copies_removed_folders_and_databases_stay_out_of_its_folder(traced):
    kept = traced.folder / "data" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("precious")
    code = """
import shutil, sqlite3, os
open("a.txt", "w").write("x")
shutil.copy("a.txt", "b.txt")
assert open("b.txt").read() == "x"
shutil.rmtree("data")
os.makedirs("new/deep"); shutil.rmtree("new"); assert not os.path.exists("new")
sqlite3.connect("runs.db").execute("create table runs(x)")
"""
    traced(code + TRAINING)
    assert kept.read_text() == "precious"
    assert sorted(p.name for p in traced.folder.iterdir() if p.name != "__pycache__") == ["data", "program.py"]


def test_programs_that_it_starts_are_named(traced):
    notes = traced("import subprocess\nsubprocess.run(['true'])\n" + TRAINING).cost.notes
    assert any("started other programs" in note and "true" in note for note in notes)


def test_what_dies_because_the_program_was_ended_is_no_event(traced):
    code = TRAINING.replace("for step", "kept = torch.ones(1024, 1024, device='cuda')\nfor step")
    events = traced(code).cost.events
    assert events.order.count(events.sizes.index(4 << 20)) == 1


def test_libraries_are_imported_before_the_card_is_faked(tmp_path):
    """Lazily loaded parts of a package, imports inside functions, and what the program's own modules import."""
    from onecard.tracing.program import _imports

    (tmp_path / "own.py").write_text("import numpy.linalg\nfrom .relative import x")
    source = "import os, own\nfrom transformers import Trainer as T\ndef f():\n    import yaml"
    assert sorted(_imports(source, tmp_path, set())) == [
        ("numpy.linalg", []),
        ("transformers", ["Trainer"]),
        ("yaml", []),
    ]


def test_a_trainer_script_as_users_write_it(traced):
    pytest.importorskip("transformers")
    pytest.importorskip("datasets")
    code = """
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.optimization import Adafactor
model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=500, n_positions=64))
rows = Dataset.from_dict({"input_ids": [[1] * 64] * 32, "labels": [[1] * 64] * 32})
arguments = TrainingArguments("out", per_device_train_batch_size=4, gradient_accumulation_steps=2, bf16=True, report_to="none")
Trainer(model=model, args=arguments, train_dataset=rows).train()
"""
    cost = traced(code).cost
    assert [name for _, name in cost.events.marks].count("backward") == 4
    assert cost.extra["attention"].get("flash")


def test_what_was_seen_until_the_limit_is_the_answer(traced):
    code = TRAINING.replace("optimizer.step()", "import time; time.sleep(1000)")
    cost = traced(code, limit=4.0).cost
    assert any("stopped after 4 s" in note for note in cost.notes)


def test_a_function_that_returns_no_step_is_told_so(traced):
    with pytest.raises(OnecardError, match="returned int, not a step"):
        traced("def build(): return 3", "build")
    with pytest.raises(OnecardError, match='has no "bild"'):
        traced("def build(): return 3", "bild")
