"""Views of a trace: the same figures on the terminal, in JSON and in the page, whose script really runs."""

import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from onecard.core.cost import Cost, Events, Part, Phase
from onecard.core.device import Device
from onecard.core.ranges import Range
from onecard.core.units import GiB, MiB
from onecard.predict.peak import answer
from onecard.show.trace import fold, thin, trace_view
from onecard.show.trace_html import lifetimes, trace_html
from onecard.show.trace_json import trace_json

EVENTS = Events(
    sizes=(400 * MiB, 300 * MiB, 200 * MiB, 350 * MiB, 10),
    order=(0, 1, 1, 2, 3, 4, 4),
    labels=(0, 1, 1, 2, 1),
    names=(
        ("weights", "net", "build"),
        ("activations", "net.fc", "aten::mm"),
        ("gradients", "net.</script>", "aten::mm"),
    ),
    marks=((0, "build"), (1, "forward"), (4, "backward")),
)
CONTEXT = Phase(name="step", parts=(Part(name="context", bytes=Range.exact(100 * MiB)),))
COST = Cost(phases=(CONTEXT,), runtime="torch", events=EVENTS, notes=("one guess",), versions={"torch": "2.13.0"})


def traced(memory=8 * GiB, **kw):
    device = Device(name="RTX 4070 Ti", kind="cuda", memory_total=memory, bandwidth=5e11)
    return answer(COST, "net.py:step", device, **kw)


def printed(value):
    console = Console(width=110, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(trace_view(value))
    return capture.get()


def test_terminal_says_what_it_takes_and_who_holds_it():
    text = printed(traced())
    assert "✓ fits  net.py:step on RTX 4070 Ti   needs 1.12 GiB of 8.00 GiB" in text
    assert re.search(r"weights +400 MiB", text)
    assert re.search(r"rounding and cached +\d+ MiB", text)
    assert re.search(r"CUDA context +100 MiB", text)
    assert re.search(r"backward +950 MiB", text)
    assert "|forward" in text
    assert "note: one guess" in text


def test_terminal_says_where_memory_ends():
    text = " ".join(printed(traced(1 * GiB)).split())
    assert "✗ out of memory" in text
    assert "needs 1.12 GiB of 1.00 GiB" in text
    assert "backward: aten::mm in net.</script> asks for 350 MiB (gradients)" in text


def test_json_has_the_figures_of_the_terminal():
    value = json.loads(trace_json(traced()))
    assert value["fits"] is True
    assert value["peak"] == {
        "allocated": 950 * MiB + 512, "reserved": value["peak"]["reserved"], "requested": 950 * MiB + 10,
        "context": 100 * MiB, "needs": value["peak"]["reserved"] + 100 * MiB,
    }  # fmt: skip
    assert [p["name"] for p in value["phases"]] == ["build", "forward", "backward"]
    assert "events" not in value
    full = json.loads(trace_json(traced(), events=True))
    assert full["events"]["order"] == list(EVENTS.order)
    assert len(full["timeline"]["reserved"]) == len(EVENTS.order)
    assert json.loads(trace_json(traced(1 * GiB)))["out_of_memory"]["asked"] == 350 * MiB


def test_page_is_whole_and_safe():
    page = trace_html(traced())
    assert "http" not in page.lower().replace("http-equiv", "")
    assert page.count("</script>") == 2  # a module's name cannot end the script
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1].replace("<\\/", "</"))
    assert data["size"] == [400 * MiB, 300 * MiB, 200 * MiB, 350 * MiB]  # 10 bytes are not drawn
    assert data["death"] == [-1, 2, -1, -1]
    assert "1 storages below" in page
    assert "asks for 350 MiB" in trace_html(traced(1 * GiB))


DOM = """
const made = {};
const pen = new Proxy({}, { get: (t, k) => k === "measureText" ? () => ({ width: 30 }) : () => {}, set: () => true });
const make = (id) => made[id] ??= { id, dataset: { height: "280" }, style: {}, clientWidth: 800, getContext: () => pen,
  textContent: id === "data" ? DATA : "" };
globalThis.document = { getElementById: make, documentElement: {} };
globalThis.window = { addEventListener: () => {}, devicePixelRatio: 2 };
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "#000" });
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's script with")
def test_the_script_finds_who_holds_the_peak(tmp_path):
    page = trace_html(traced())
    data = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    script = re.search(r"</script><script>(.*)</script>", page, re.S)[1]
    after = """
    made.time.onmousemove({ offsetX: 0 });
    const first = made.moment.textContent;
    made.topeak.onclick();
    made.flame.onclick({ offsetX: 5, offsetY: 30 });
    console.log(JSON.stringify([first, made.moment.textContent, made.categories.innerHTML, made.path.textContent]));
    """
    path = tmp_path / "page.cjs"
    path.write_text(f"const DATA = {json.dumps(data)};{DOM}\n{script}\n{after}")
    run = subprocess.run([shutil.which("node"), str(path)], capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    first, peak, categories, path_text = json.loads(run.stdout)
    assert "event 0 of 7, build: 400 MiB allocated" in first
    assert "event 5 of 7, backward: 950 MiB allocated" in peak
    assert 'weights</td><td class="n">400 MiB' in categories
    assert "950 MiB" in categories
    assert path_text.startswith("inside net")


def test_thinning_keeps_every_peak():
    values = tuple([1] * 500 + [9] + [1] * 500)
    assert max(thin(values, 72)) == 9
    assert len(thin(values, 72)) == 72
    assert thin((1, 2), 4) == [1, 1, 2, 2]


def test_what_does_not_fit_on_the_screen_is_summed():
    assert list(fold({"a": 3, "": 2, "c": 1}, 2)) == [("a", 3), ("(outside of any)", 2), ("1 more", 1)]


def test_lifetimes():
    assert lifetimes(EVENTS, 7) == ([0, 1, 3, 4, 5], [-1, 2, -1, -1, 6])
    assert lifetimes(EVENTS, 4)[0] == [0, 1, 3, -1, -1]
