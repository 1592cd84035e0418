"""The report in a real browser: no error on its console, no request that leaves the file, something to see."""

import shutil
import subprocess

import pytest
from test_report import SCORES, SERVER, SLOW, record, report

from onecard.show.report_html import report_html

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0"
)


def whole():
    """Every part that a report can have."""
    samples = {"rss": [1e9, 5e9, 2e9], "rss_t": [0.0, 1.0, 2.0], "power": [100.0, 280.0], "power_t": [0.0, 1.0]}
    finding = {
        "severity": "warning",
        "rule": "machine-loaded",
        "evidence": "load 3 <of> 2",
        "cause": "x",
        "next": "wait & see",
    }
    return report(
        records=(record(samples=samples), record(**SERVER)), scores=SCORES, opinions={"r1": (SLOW,)}, findings=(finding,),
        commands=("onecard report",), environment={"system": "Linux", "versions": {"torch": "2.11"}},
    )  # fmt: skip


def opened(folder, page, mode):
    """(standard error, requests of the page, picture) of a headless browser that can resolve no name."""
    picture, log = folder / f"{mode}.png", folder / f"{mode}.json"
    command = [
        BROWSER, *QUIET.split(), f"--user-data-dir={folder / mode}", f"--log-net-log={log}",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--blink-settings=preferredColorScheme={0 if mode == 'dark' else 1}",
        f"--screenshot={picture}", "--window-size=900,1200", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    # The browser's own requests (its updates) have no initiator; those of a page do.
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if '"initiator":' in line]
    asked = [line for line in lines if '"url":"http' in line and '"initiator":"not an origin"' not in line]
    return done.stderr, asked, picture.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_it_opens_offline_without_an_error_or_a_request_light_and_dark(tmp_path):
    page = tmp_path / "report.html"
    page.write_text(report_html(whole()), encoding="utf-8")
    pictures = []
    for mode in ("light", "dark"):
        said, asked, picture = opened(tmp_path, page, mode)
        assert "CONSOLE" not in said, said
        assert not asked
        assert len(picture) > 20_000, "an empty page of this size is smaller"
        pictures.append(picture)
    assert pictures[0] != pictures[1], "the colours follow the reader's choice"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_it_prints(tmp_path):
    page, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(report_html(whole()), encoding="utf-8")
    command = [
        BROWSER,
        *QUIET.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--print-to-pdf={paper}",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 10_000
