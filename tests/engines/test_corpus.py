import collections
import itertools
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from onecard.core.errors import BadFile
from onecard.engines import corpus


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "texts"
    (place / "deeper").mkdir(parents=True)
    for i in range(20):
        (place / "deeper" / f"{i}.txt").write_text(f"line {i} of a small text, again and again.\n" * 8)
    (place / "empty.txt").write_text("")
    (place / "picture.bin").write_bytes(b"\0\1\2" * 50)
    (place / "latin.txt").write_bytes(b"caf\xe9" * 50)
    (place / ".hidden").write_text("secret")
    return place


def prepared(folder, tmp_path, **changes):
    options = {"seed": 1, "vocab": 300, "context": 16} | changes
    return corpus.prepare(str(folder), tmp_path / "made", **options)


def test_all_text_is_read_and_nothing_else(folder, tmp_path):
    made = prepared(folder, tmp_path)
    assert made.documents == 20
    assert made.characters == sum(len((folder / "deeper" / f"{i}.txt").read_text()) for i in range(20))


def test_decoding_gives_back_every_document(folder, tmp_path):
    made = prepared(folder, tmp_path)
    tokens = torch.cat((made.train, made.validation)).long()
    end = made.tokenizer.token_to_id(corpus.END)
    assert (tokens == end).sum() == 20
    cut = (tokens == end).nonzero().flatten().tolist()
    first = made.tokenizer.decode(tokens[: cut[0]].tolist())
    assert first in {f.read_text() for f in (folder / "deeper").iterdir()}


def test_any_text_can_be_written_with_bytes_alone(folder, tmp_path):
    made = prepared(folder, tmp_path, vocab=corpus.BYTES + 1)
    text = "Grüße, 世界 🙂\n"
    ids = made.tokenizer.encode(text).ids
    assert len(ids) == len(text.encode())
    assert made.tokenizer.decode(ids) == text


def test_the_table_of_bytes_writes_what_the_tokenizer_writes(tmp_path):
    everything = "".join(map(chr, range(1, 0x500))) + "\U0001f642 \t\r\n" * 3
    (tmp_path / "a.txt").write_text(everything * 3, encoding="utf-8", newline="")
    tokenizer = corpus.learn_tokenizer(str(tmp_path), 1, corpus.BYTES + 1)
    line = corpus._encoder(tokenizer)([everything, "b"])
    end = tokenizer.token_to_id(corpus.END)
    assert line.tolist() == [*tokenizer.encode(everything).ids, end, *tokenizer.encode("b").ids, end]


def test_the_second_start_opens_what_the_first_one_made(folder, tmp_path):
    first = prepared(folder, tmp_path)
    for file in (folder / "deeper").iterdir():
        file.write_text("changed")
    second = prepared(folder, tmp_path)
    assert torch.equal(first.train, second.train)


def test_windows_follow_from_seed_and_step_alone(folder, tmp_path):
    train = prepared(folder, tmp_path).train
    again = corpus.windows(train, 4, 16, seed=3, step=7)
    assert torch.equal(again, corpus.windows(train, 4, 16, seed=3, step=7))
    assert not torch.equal(again, corpus.windows(train, 4, 16, seed=3, step=8))
    assert not torch.equal(again, corpus.windows(train, 4, 16, seed=4, step=7))
    line = " ".join(map(str, train.tolist()))
    assert all(" ".join(map(str, w.tolist())) in line for w in again)


def test_windows_reach_the_very_end():
    tokens = torch.arange(18, dtype=torch.int64)
    seen = {int(w[-1]) for step in range(60) for w in corpus.windows(tokens, 4, 16, seed=0, step=step)}
    assert seen == {16, 17}


def test_bigram_loss_is_the_textbook_number():
    train = torch.tensor([0, 1, 0, 1, 0, 2] * 40)
    held_out = torch.tensor([[0, 1, 0, 2, 0]])
    single = collections.Counter(train.tolist())
    pairs = collections.Counter(zip(train.tolist()[:-1], train.tolist()[1:], strict=True))
    unigram = {t: (single[t] + 1) / (len(train) + 3) for t in range(3)}

    def loss(s):
        line = held_out[0].tolist()
        each = [-math.log((pairs[a, b] + s * unigram[b]) / (single[a] + s)) for a, b in itertools.pairwise(line)]
        return sum(each) / len(each)

    wanted = min(loss(s) for s in (0.3, 1.0, 3.0, 10.0, 30.0))
    assert corpus.bigram_loss(train, held_out, 3) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_pairs_counted_in_parts_are_those_counted_at_once(monkeypatch, part):
    """Also the pair that lies across two parts, and a last part of one token."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(1)
    train = torch.randint(0, 5, (29,), generator=generator).to(torch.uint16)
    held_out = torch.randint(0, 5, (4, 6), generator=generator)
    wanted = corpus.bigram_loss(train, held_out, 5)
    monkeypatch.setattr(corpus, "_PART", part)
    assert corpus.bigram_loss(train, held_out, 5) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("content", "match"),
    [({}, "no text"), ({"a.txt": ""}, "no text"), ({"a.txt": "too short"}, "too few"), (None, "no file or folder")],
)
def test_a_corpus_without_enough_text_is_refused(tmp_path, content, match):
    place = tmp_path / "texts"
    if content is not None:
        place.mkdir()
        for name, words in content.items():
            (place / name).write_text(words)
    with pytest.raises(BadFile, match=match) as caught:
        prepared(place, tmp_path)
    assert caught.value.next


@pytest.mark.slow
def test_the_default_is_the_source_of_the_standard_library():
    names = {f.name for f in corpus.files("")}
    assert {"argparse.py", "this.py"} <= names
    assert not any("test" in f.parts or "site-packages" in f.parts for f in corpus.files(""))
