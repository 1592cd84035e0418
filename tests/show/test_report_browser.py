"""The report in a real browser: no error on its console, no request that leaves the file, something to see."""

import shutil
import subprocess

import pytest
from test_report import report

from onecard.show.report_html import report_html

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0"
)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_it_opens_offline_without_an_error_or_a_request(tmp_path):
    page, picture = tmp_path / "report.html", tmp_path / "report.png"
    page.write_text(report_html(report()), encoding="utf-8")
    log = tmp_path / "net.json"
    command = [
        BROWSER, *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--screenshot={picture}", "--window-size=900,1200", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    # The browser's own requests (its updates) have no initiator; those of a page do.
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if '"initiator":' in line]
    asked = [line for line in lines if '"url":"http' in line and '"initiator":"not an origin"' not in line]
    assert not asked
    assert picture.stat().st_size > 20_000, "an empty page of this size is smaller"
