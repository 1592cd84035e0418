"""What every workload promises, checked for each file of the folder: a new one is picked up by itself."""

import itertools
import subprocess
import sys

import msgspec
import pytest

from onecard.core.cost import BASES, PARTS, Cost
from onecard.core.errors import OnecardError, UnknownName
from onecard.core.plan import Plan
from onecard.core.settings import as_dict, fields, make
from onecard.workloads import get, names, title


def settings_of(name, **changes):
    work = get(name)
    given = {**work.example, **changes}
    chosen = {c.setting: c.options[0] for c in work.choices(make(work.settings, given))}
    return make(work.settings, {**given, **chosen})


def cost_of(name, **changes) -> Cost:
    return get(name).cost(settings_of(name, **changes))


@pytest.fixture(params=names())
def name(request):
    return request.param


def test_it_has_a_title_and_every_setting_is_documented(name):
    assert title(name)
    for field in fields(get(name).settings):
        assert field.help, f"{name}: {field.name} has no help"
        assert field.required or field.name not in get(name).settings.__struct_fields__[:0]


def test_settings_survive_json(name):
    settings = settings_of(name)
    again = msgspec.json.decode(msgspec.json.encode(settings), type=type(settings))
    assert again == settings
    assert make(type(settings), as_dict(settings)) == settings


def test_unknown_settings_are_refused_with_the_nearest(name):
    field = fields(get(name).settings)[0].name
    with pytest.raises(UnknownName) as error:
        make(get(name).settings, {**get(name).example, field + "x": 1})
    assert field in error.value.nearest


def test_the_cost_is_counted_in_whole_positive_numbers(name):
    cost = cost_of(name)
    assert cost.basis in BASES
    assert cost.phases
    for phase in cost.phases:
        assert phase.repeat > 0
        for part in phase.parts:
            assert part.name in PARTS
            assert part.basis in BASES
            assert 0 <= part.bytes.low <= part.bytes.likely <= part.bytes.high
        for operation in phase.operations:
            assert operation.flops >= 0 and operation.bytes >= 0 and operation.launches >= 0
            assert operation.place in ("device", "host", "link")
        assert phase.memory().likely > 0
        assert phase.operations or phase.repeat


def test_what_is_held_is_held_without_operations_too(name):
    work = get(name)
    if work.held is None:
        pytest.skip("has one way to count")
    whole, bare = work.cost(settings_of(name)), work.held(settings_of(name))
    assert [p.parts for p in bare.phases] == [p.parts for p in whole.phases]
    assert (bare.runtime, bare.extra, bare.notes) == (whole.runtime, whole.extra, whole.notes)


def peak(cost):
    return max(p.memory().likely for p in cost.phases)


def test_more_never_needs_less_memory(name):
    known = get(name).settings.__struct_fields__
    for field, values in {"batch": (1, 2, 8), "context": (512, 2048, 8192), "micro_batch": (1, 4, 16)}.items():
        if field not in known:
            continue
        peaks = [peak(cost_of(name, **{field: v})) for v in values]
        assert peaks == sorted(peaks), f"{name}: {field}"


def test_checkpointing_never_needs_more_memory(name):
    if "checkpointing" not in get(name).settings.__struct_fields__:
        pytest.skip("has no gradient checkpointing")
    assert peak(cost_of(name, checkpointing=True)) <= peak(cost_of(name, checkpointing=False))


def test_every_choice_is_legal_and_memory_falls_with_harm(name):
    work = get(name)
    given = dict(work.example)
    choices = work.choices(make(work.settings, given))
    start = {c.setting: c.options[0] for c in choices}
    for choice in choices:
        assert choice.harms[0] == 0
        assert list(choice.harms) == sorted(choice.harms)
        assert len(choice.options) == len(choice.harms)
        peaks = [peak(work.cost(make(work.settings, {**given, **start, choice.setting: o}))) for o in choice.options]
        for before, after in itertools.pairwise(peaks):
            assert after <= before * 1.0001, f"{name}: {choice.setting} {choice.options}"


def test_what_it_needs_names_an_extra_that_exists(name):
    import tomllib
    from pathlib import Path

    pyproject = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for need in get(name).needs(settings_of(name)):
        assert need.extra in extras
        assert need.purpose


def test_it_can_really_run(name):
    work = get(name)
    assert work.run is not None
    assert work.prove is not None or (work.build is not None and work.step is not None)


def test_importing_it_loads_no_heavy_library(name):
    code = f"import sys; import onecard.workloads.{name.replace('-', '_')}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {m.partition(".")[0] for m in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "transformers", "gguf", "xllamacpp", "pandas"}


@pytest.mark.parametrize("device", ["RTX 4070 Ti", "H100 PCIe", "memory=12GiB,bandwidth=504GB/s,fp16=80TFLOPS"])
def test_a_plan_is_whole_and_survives_json(name, device):
    from onecard import api

    plan = api.plan(name, on=device, **get(name).example)
    again = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert again == plan
    memory = plan.estimate.memory
    assert memory.peak_bytes.likely == pytest.approx(sum(p.likely for p in memory.parts.values()), rel=1e-6)
    assert memory.phase in plan.estimate.time
    for rate in plan.estimate.rates.values():
        assert 0 < rate.low <= rate.likely <= rate.high
    assert set(plan.estimate.limiters) == set(plan.estimate.time)


def test_the_id_hashes_the_question_and_not_the_moment(name):
    from onecard import api

    card = api.device("RTX 4070 Ti")
    busy = msgspec.structs.replace(card, memory_free=card.memory_total // 2)
    example = {
        **get(name).example,
        **{c.setting: c.options[-1] for c in get(name).choices(make(get(name).settings, get(name).example))},
    }
    assert api.plan(name, on=card, **example).id == api.plan(name, on=busy, **example).id
    assert api.plan(name, on="RTX 4090", **example).id != api.plan(name, on=card, **example).id


def test_a_broken_file_is_a_visible_error_that_names_it(tmp_path, monkeypatch):
    import onecard.workloads as room

    (tmp_path / "broken.py").write_text("raise RuntimeError('half written')")
    monkeypatch.setattr(room, "__path__", [str(tmp_path), *room.__path__])
    monkeypatch.setattr(room, "names", lambda: ("broken",))
    with pytest.raises(OnecardError, match=r"broken\.py"):
        room.get.__wrapped__("broken")
