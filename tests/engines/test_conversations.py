import json

import pytest

from onecard.core.errors import BadFile
from onecard.engines.conversations import documentation, examples, lengths

ASKED = (("user", "What is it?"),)


def written(tmp_path, rows, name="data.jsonl"):
    file = tmp_path / name
    file.write_text("\n".join(json.dumps(r) if isinstance(r, dict) else r for r in rows), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is it?", "completion": "A test."},
        {"question": "What is it?", "answer": " A test. "},
        {"instruction": "What is it?", "output": "A test.", "input": ""},
        {"messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A test."}]},
        {"conversations": [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A test."}]},
        {
            "prompt": [{"role": "user", "content": "What is it?"}],
            "completion": [{"role": "assistant", "content": "A test."}],
        },
    ],
    ids=lambda row: "+".join(row),
)
def test_every_known_form_is_the_same_example(tmp_path, row):
    found = examples(written(tmp_path, [row] * 5))
    assert len(found) == 5
    assert found[0].prompt == ASKED
    assert found[0].completion.strip() == "A test."


def test_csv_text_and_input_columns(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("instruction,input,output\n" + 'Add.,"1, 2",3\n' * 4)
    found = examples(str(file))
    assert found[0].prompt == (("user", "Add.\n\n1, 2"),)
    plain = examples(written(tmp_path, [{"text": "only text"}] * 4))
    assert (plain[0].prompt, plain[0].completion) == ((), "only text")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    file = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table({"prompt": ["a"] * 4, "completion": ["b"] * 4}), file)
    assert len(examples(str(file))) == 4


def test_rows_with_nothing_to_learn_are_left_out(tmp_path):
    rows = [{"prompt": "a", "completion": "b"}] * 4 + [
        {"prompt": "a", "completion": ""},
        {"prompt": "", "completion": "b"},
    ]
    assert len(examples(written(tmp_path, rows))) == 4


@pytest.mark.parametrize(
    ("rows", "name", "match"),
    [
        ([{"frage": "a", "antwort": "b"}] * 5, "data.jsonl", "columns frage, antwort"),
        (['{"prompt": "a"', *['{"prompt": "a", "completion": "b"}'] * 5], "data.jsonl", "line 1 .* is not JSON"),
        (["[1, 2]"] * 5, "data.jsonl", "is no object"),
        ([], "data.jsonl", "0 examples"),
        ([{"prompt": "a", "completion": "b"}], "data.jsonl", "1 examples"),
        (["x"], "data.xlsx", "unknown ending"),
        ([{"messages": ["hello"]}] * 5, "data.jsonl", "unknown form"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, rows, name, match):
    with pytest.raises(BadFile, match=match) as caught:
        examples(written(tmp_path, rows, name))
    assert caught.value.next


def test_a_file_that_is_not_there_is_not_looked_up_on_the_hub(tmp_path):
    with pytest.raises(BadFile, match="no file"):
        examples(str(tmp_path / "nothing.jsonl"))


def test_the_order_follows_from_the_seed(tmp_path):
    source = written(tmp_path, [{"prompt": str(i), "completion": str(i)} for i in range(30)])
    assert examples(source, 1) == examples(source, 1)
    assert examples(source, 1) != examples(source, 2)


def test_the_bundled_set_is_real_documentation():
    found = list(documentation())
    assert len(found) > 400
    answers = {e.prompt[0][1]: e.completion for e in found}
    assert answers["What does str.join do in Python?"].startswith("Concatenate any number of strings")
    assert all(40 <= len(e.completion) <= 700 for e in found)
    assert not any("attrgetter" in q and "operator" not in q for q in answers)


def test_lengths_tell_what_a_limit_cuts_off():
    found = lengths([10, 20, 20, 100], 50)
    assert (found.count, found.median, found.longest, found.truncated) == (4, 20, 100, 1)
    assert found.tokens_lost == pytest.approx(50 / 150)
    assert found.buckets == {"<= 16": 1, "<= 32": 2, "<= 128": 1}
