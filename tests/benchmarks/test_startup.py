"""The light core stays light: what a plain install brings, counted from the installed files."""

from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_core_takes_less_than_30_mb(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import startup

    sizes = startup.core_files()
    assert {"onecard", "click", "msgspec", "rich", "psutil"} <= set(sizes)
    assert not {"torch", "numpy", "huggingface-hub", "xllamacpp"} & set(sizes)
    assert sum(sizes.values()) <= startup.CORE, sizes
