"""A report holds what it was given, asks nothing of the network, and breaks on no name."""

import csv
import io
import re
from html.parser import HTMLParser

import msgspec
import pytest

from onecard.core.estimate import Estimate, Memory, PhaseTime
from onecard.core.opinion import Cause, Comparison, Opinion
from onecard.core.plan import Plan
from onecard.core.ranges import Range
from onecard.core.record import Measurement, Record
from onecard.core.report import Report
from onecard.core.score import Score
from onecard.show.drawing import scatter, stacked_bar, timeline
from onecard.show.report_html import report_html
from onecard.show.report_text import report_csv, report_markdown

GiB = 1024**3
NASTY = '<script>alert("x")</script> & "quotes" ümläut | pipe'


def plan(model=NASTY):
    peak = Range(5 * GiB, 6 * GiB, 7 * GiB)
    memory = Memory(
        peak_bytes=peak,
        phase="decode",
        parts={"weights": Range(4 * GiB, 5 * GiB, 6 * GiB), "kv_cache": Range.exact(GiB)},
        usable_bytes=11 * GiB,
        bases={"weights": "counted"},
    )
    estimate = Estimate(
        memory=memory,
        time={"decode": PhaseTime(seconds=Range(0.01, 0.02, 0.03))},
        total_seconds=Range(1, 2, 3),
        rates={"decode_tokens_per_s": Range(40, 50, 60)},
        limiters={"decode": "bandwidth"},
        basis="counted",
    )
    return Plan(
        id="abc",
        workload="chat",
        settings={"model": model},
        device={"name": "card"},
        verdict="fits",
        estimate=estimate,
        command="onecard run chat",
    )


def record(**changes):
    given = {
        "id": "r1",
        "kind": "prove",
        "plan": msgspec.to_builtins(plan()),
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 3.0,
        "outcome": "ok",
        "requested": {},
        "effective": {},
        "environment": {},
        "measurements": (
            Measurement(name="memory.weights", unit="bytes", predicted=(4 * GiB, 5 * GiB, 6 * GiB), measured=4.8 * GiB),
            Measurement(name="memory.context", unit="bytes", predicted=(1, 2, 3), measured=None),
            Measurement(name="decode_tokens_per_s", unit="tok/s", predicted=(40, 50, 60), measured=46.0),
        ),
        "samples": {"rss": [1.0, 5.0, 2.0], "rss_t": [0.0, 1.0, 2.0]},
    }
    return Record(**{**given, **changes})


def report(**changes):
    machine = ({"name": NASTY, "memory_total": 12 * GiB, "bandwidth": 504e9, "flops": {"fp16": 80e12}},)
    given = {
        "title": NASTY,
        "created": "now",
        "version": "1",
        "machine": machine,
        "plans": (plan(),),
        "records": (record(),),
    }
    return Report(**{**given, **changes})


class Reader(HTMLParser):
    VOID = frozenset({"meta", "link", "br", "hr", "img", "rect", "line", "circle", "polyline"})

    def __init__(self, page):
        super().__init__()
        self.open, self.links, self.tags, self.words = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href") and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_asks_nothing_of_the_network():
    page = report_html(report())
    reader = Reader(page)
    assert reader.open == []
    assert {link for link in reader.links if not link.startswith("#")} <= {"data:,"}
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(re.findall(r'<h2 id="(\w+)"', page))
    assert "script" not in reader.tags and "iframe" not in reader.tags
    assert not re.search(r"url\(|@import|https?://", page)
    assert "prefers-color-scheme:dark" in page and "@media print" in page


def test_what_was_not_observed_says_so_and_errors_have_signs():
    words = " ".join(Reader(report_html(report())).words)
    assert "not observed" in words
    assert "+8.7%" in words, "50 predicted, 46 measured"
    assert "onecard run chat" in words, "of the plan"
    assert "onecard prove chat" in words, "of the Record, which is a proof"


def test_text_that_looks_like_markup_stays_text():
    assert NASTY in " ".join(Reader(report_html(report())).words)


def test_an_empty_report_is_still_a_page():
    assert Reader(report_html(report(plans=(), records=()))).open == []


SCORES = (
    Score(area="memory", name="copy", unit="B/s", median=9e9, spread=0.1, samples=5, ceiling=12e9),
    Score(area="chat", name=NASTY, unit="tokens/s", median=10.0, spread=0.0, samples=1, ceiling=20.0, limit="bandwidth",
          predicted=(11.0, 12.0, 13.0), busy="the processor was 90% busy"),
)  # fmt: skip
SLOW = Opinion(
    name="decode_tokens_per_s", unit="tok/s", measured=30.0,
    comparisons=(Comparison(against="the plan's range", low=40, middle=50, high=60, count=0),),
    causes=(Cause(name="thermal throttle", evidence="in 80% of the samples, up to 91 °C", next="clean the fans", weight=0.8),),
)  # fmt: skip
SERVER = {
    "id": "e1", "kind": "bench", "samples": {}, "quality": {"requests": 4, "errors": 1},
    "plan": {"workload": "endpoint", "settings": {"model": NASTY, "url": "http://10.1.2.3/v1", "concurrency": 2, "prompt_tokens": 128}},
    "measurements": (Measurement(name="first_token_seconds", unit="s", predicted=None, measured=0.25),),
}  # fmt: skip


def test_scores_opinions_and_servers_are_shown():
    content = report(records=(record(), record(**SERVER)), scores=SCORES, opinions={"r1": (SLOW,)})
    reader = Reader(report_html(content))
    words = " ".join(reader.words)
    assert reader.open == []
    for piece in ("75%", "50% of bandwidth", "outside", "90% busy", "slower", "thermal throttle", "250 ms", "1 of 4"):
        assert piece in words, piece
    text = report_markdown(content)
    assert "thermal throttle" in text and "| memory | copy | 9.00 GB/s | 10.0% of 5 | 75% |" in text
    rows = list(csv.DictReader(io.StringIO(report_csv(content))))
    assert {r["name"] for r in rows} >= {"copy", NASTY, "first_token_seconds"}


def test_the_first_lines_count_what_held():
    words = " ".join(Reader(report_html(report(opinions={"r1": (SLOW,)}))).words)
    assert "1 of 1" in words and "0 of 1" in words, "a rate inside its range; a speed that is not normal"


def test_a_share_stands_beside_its_rate_and_not_as_a_figure():
    rows = (
        *record().measurements,
        Measurement(name="decode_share_of_bandwidth", unit="share", predicted=None, measured=0.61),
    )
    words = " ".join(Reader(report_html(report(records=(record(measurements=rows),)))).words)
    assert "61% of bandwidth" in words and "0.61 share" not in words


def test_the_address_of_a_server_is_a_name_too():
    from onecard.api import reports

    (shown,) = reports.redacted(report(records=(record(**SERVER),))).records
    assert shown.plan["settings"]["url"] == "http://server/v1" and "10.1.2.3" not in report_html(
        report(records=(shown,))
    )


def test_steps_of_a_bench_become_its_score_card_and_crowd_no_record_out():
    from onecard.api import reports
    from onecard.core.places import records_file
    from onecard.store import records as store

    for i in range(60):
        step = {"bench": "old" if i < 30 else "new", "step": f"copy {i}"}
        rows = (Measurement(name=f"copy {i}", unit="B/s", predicted=None, measured=1e9),)
        plan = {"workload": "bench", "settings": {}, "device": {"name": "card"}}
        made = record(
            id=f"b{i}",
            kind="bench",
            plan=plan,
            effective=step,
            measurements=rows,
            samples={},
            started=f"2026-02-01T00:00:{i:02}",
        )
        store.add(records_file(), made)
    store.add(records_file(), record())
    content = reports.gather(findings=())
    assert [r.id for r in content.records] == ["r1"]
    assert [s.name for s in content.scores] == [f"copy {i}" for i in range(30, 60)], "of several benchmarks the newest"
    assert set(content.opinions) == {"r1"}


def test_csv_has_one_line_a_measurement_in_plain_numbers():
    rows = list(csv.DictReader(io.StringIO(report_csv(report()))))
    assert [r["name"] for r in rows] == ["memory.weights", "memory.context", "decode_tokens_per_s"]
    assert float(rows[0]["measured"]) == 4.8 * GiB and rows[1]["measured"] == ""
    assert float(rows[2]["error"]) == pytest.approx(50 / 46 - 1)


def test_markdown_has_every_measurement():
    text = report_markdown(report())
    assert text.count("| chat ") >= 3 and "not observed" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, "a bar in a name is no new cell"


def test_a_report_without_names_of_people_or_paths(monkeypatch, tmp_path):
    from onecard.api import reports

    monkeypatch.setattr(reports.Path, "home", staticmethod(lambda: tmp_path / "ada"))
    monkeypatch.setattr(reports.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(reports.platform, "node", lambda: "box7")
    private = report(records=(record(error=f"no room in {tmp_path / 'ada'}/models on box7, said ada; adamant"),))
    error = reports.redacted(private).records[0].error
    assert error == "no room in ~/models on <host>, said <user>; adamant"


PLACES = {
    "/data/grace/models/x.gguf": ".../x.gguf",
    "onecard run chat --model /srv/team/x.gguf --quant q4_0": "onecard run chat --model .../x.gguf --quant q4_0",
    "log: /mnt/big/runs/ab12/log.txt": "log: .../log.txt",
    "D:\\models\\grace\\x.gguf": ".../x.gguf",
    "/dev/shm has 64 MiB and /proc/driver/nvidia/version is there": "/dev/shm has 64 MiB and /proc/driver/nvidia/version is there",
    "https://pytorch.org/get-started/locally": "https://pytorch.org/get-started/locally",
    "92.4 tok/s, 3 it/s; prose/with/slashes": "92.4 tok/s, 3 it/s; prose/with/slashes",
    "NVIDIA GeForce RTX 4070 Ti": "NVIDIA GeForce RTX 4070 Ti",
}


@pytest.mark.parametrize("text", PLACES)
def test_of_a_path_the_last_part_stays(text):
    from onecard.api import reports

    assert reports.redacted(report(records=(record(error=text),))).records[0].error == PLACES[text]
    made = record()
    made.plan["settings"] = {"model": text}
    assert reports.redacted(report(records=(made,))).records[0].plan["settings"]["model"] == PLACES[text]


def test_a_user_with_the_name_of_a_workload_takes_nothing_away(monkeypatch):
    from onecard.api import reports

    monkeypatch.setattr(reports.getpass, "getuser", lambda: "chat")
    shown = reports.redacted(report(title="of chat"))
    assert (
        shown.plans[0].workload == "chat" and shown.records[0].plan["workload"] == "chat" and shown.title == "of <user>"
    )


def test_a_file_of_unknown_ending_is_refused(tmp_path):
    from onecard.api.reports import report as write
    from onecard.core.errors import BadSetting

    with pytest.raises(BadSetting):
        write(tmp_path / "report.exe", content=report())
    for ending in (".html", ".md", ".json", ".csv"):
        assert write(tmp_path / f"report{ending}", content=report()).stat().st_size > 100
    assert not list(tmp_path.glob("*.part"))


def test_the_parts_of_a_bar_add_up():
    drawn = stacked_bar([("a", 30.0), ("b", 10.0)], 80.0, 60.0, "x")
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="10"', drawn)]
    assert sum(widths) == pytest.approx(50)
    assert 'x="75.000"' in drawn


def test_a_point_on_the_diagonal_is_drawn_on_the_diagonal():
    drawn = scatter([(5.0, 5.0, "a")], "GiB")
    x, y = (float(v) for v in re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn).groups())
    assert x - 44 == pytest.approx(300 + 44 - y)


def test_thinning_a_timeline_keeps_its_peak():
    values = [1.0] * 5000
    values[3333] = 7.0
    drawn = timeline("memory", list(range(5000)), values, "GiB", most=100)
    assert "at most 7 GiB" in drawn
    ys = [float(p.split(",")[1]) for p in re.search(r'points="([^"]+)"', drawn)[1].split()]
    assert min(ys) == pytest.approx(4.0) and len(ys) <= 100
