"""The journal of a run: one event a line, appended and flushed before anything is done with it."""

import threading
from pathlib import Path
from typing import Any

import msgspec


class Journal:
    """Appends lines to runs/<id>/journal.jsonl from several threads. Close it, or use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.jsonl"
        self._file = self.path.open("ab")
        self._lock = threading.Lock()

    def write(self, event: dict[str, Any]) -> None:
        """Append one event."""
        self.write_line(msgspec.json.encode(event, enc_hook=str))

    def write_line(self, line: bytes) -> None:
        """Append an event as it came, with its line end put right."""
        with self._lock:
            if not self._file.closed:
                self._file.write(line.rstrip(b"\r\n") + b"\n")
                self._file.flush()

    def close(self) -> None:
        """No more lines; later ones are ignored (a sampler's last)."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
