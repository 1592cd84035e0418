"""A remembered answer holds until something that it depends on changes."""

import subprocess
import sys

import msgspec
import pytest

from onecard.core.cost import Cost
from onecard.tracing import cache
from onecard.tracing.job import Job, Result
from onecard.tracing.profiles import DEFAULT, profile
from onecard.tracing.target import target_of


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("ONECARD_HOME", str(tmp_path / "home"))
    file = tmp_path / "train.py"
    file.write_text("one")
    return Job(target=target_of(file), profile=DEFAULT, settings={"batch": 8}, scratch=str(tmp_path))


def test_the_key_changes_with_source_settings_card_class_and_nothing_else(job, tmp_path):
    first = cache.key(job)
    assert cache.key(msgspec.structs.replace(job, scratch="elsewhere")) == first
    assert cache.key(msgspec.structs.replace(job, settings={"batch": 9})) != first
    assert cache.key(msgspec.structs.replace(job, profile=profile("sm_90"))) != first
    assert cache.key(msgspec.structs.replace(job, arguments=("--fast",))) != first
    (tmp_path / "train.py").write_text("two")
    assert cache.key(job) != first


def test_an_answer_is_forgotten_when_a_file_that_it_imported_changes(job, tmp_path):
    helper = tmp_path / "helper.py"
    helper.write_text("a = 1")
    result = Result(cost=Cost(phases=(), runtime="torch"), files={str(helper): cache.hash_of(str(helper))})
    cache.save("name", result)
    assert cache.load("name") == result
    helper.write_text("a = 2")
    assert cache.load("name") is None
    assert cache.load("other") is None


def test_a_half_written_answer_is_none(job):
    cache.save("name", Result())
    (file,) = (cache._folder()).glob("name.msgpack")
    file.write_bytes(file.read_bytes()[:-1])
    assert cache.load("name") is None


def test_the_parent_process_never_imports_torch():
    code = (
        "import sys, onecard.api.traces, onecard.tracing.cache, onecard.tracing.launch, onecard.tracing.fake_cuda.check\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
