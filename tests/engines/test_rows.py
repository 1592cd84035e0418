import json

import pytest

from onecard.core.errors import BadFile, BadSetting
from onecard.engines import rows
from onecard.engines.lengths import lengths, told
from onecard.engines.negation import sentences

ROWS = [('a "quoted", text\nof two lines', "yes"), ("ümlaut", "no")]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_reads_the_same(tmp_path, kind):
    import csv

    file = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(json.dumps({"text": t, "label": n, "more": 1}) for t, n in ROWS), encoding="utf-8")
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}), file)
    else:
        with file.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, delimiter="\t" if kind == "tsv" else ",").writerows([("text", "label"), *ROWS])
    assert rows.read(str(file), ("text", "label")) == ROWS
    assert rows.about(str(file)) >= len(ROWS)


def test_torn_json_is_told_with_its_line(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a", "label": "b"}\n{"text": \n')
    with pytest.raises(BadFile, match="line 2"):
        rows.read(str(file), ("text", "label"))


def test_a_kind_that_nobody_reads_is_refused(tmp_path):
    (tmp_path / "t.docx").write_text("x")
    with pytest.raises(BadSetting, match=r"docx"):
        rows.find(str(tmp_path / "t.docx"))


def test_both_labels_draw_the_same_words():
    """The bags of both labels have one distribution: only the order decides."""
    from collections import Counter

    bags = {}
    for text, label in sentences(4000, 1):
        bags.setdefault(label, Counter()).update(text.split())
        words = text.split()
        negated = words[words.index("not") + 1]
        assert (negated in ["bad", "dull", "boring", "weak", "slow", "cold"]) == (label == "positive")
    one, two = bags["positive"], bags["negative"]
    assert all(abs(one[w] - two[w]) < 0.2 * one[w] for w in one)


def test_lengths_find_the_outlier_and_what_is_lost():
    found = lengths([10] * 99 + [4000], 128)
    assert found["outliers"] == [100]
    assert found["cut_rows"] == 1
    assert found["lost_tokens_share"] == pytest.approx(3872 / 4990)
    assert "1 of 100 (1 %) are cut at 128" in told(found, 128)
    assert lengths([10, 12], 128)["outliers"] == []
