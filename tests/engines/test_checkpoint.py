import shutil

import pytest

torch = pytest.importorskip("torch")

from onecard.core.errors import BadFile, NoRoom
from onecard.engines import checkpoint


def save(folder, step, loss=None):
    figures = {} if loss is None else {"validation_loss": loss}
    return checkpoint.save(folder, step, {"w": torch.full((3,), float(step)), "step": step}, {"depth": 2}, figures)


def steps(folder):
    return [c.step for c in checkpoint.listed(folder)]


def test_nothing_saved_is_not_an_error(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.last(tmp_path) is None


def test_the_newest_is_loaded_with_its_state(tmp_path):
    save(tmp_path, 9)
    save(tmp_path, 10)
    made, state = checkpoint.load(tmp_path)
    assert made.step == state["step"] == 10
    assert torch.equal(state["w"], torch.full((3,), 10.0))
    assert made.settings == {"depth": 2}


def test_last_two_and_the_best_are_kept(tmp_path):
    for step, loss in ((1, 5.0), (2, 2.0), (3, 4.0), (4, 3.0), (5, 3.5)):
        save(tmp_path, step, loss)
    assert steps(tmp_path) == [2, 4, 5]
    assert checkpoint.best(tmp_path).step == 2
    assert checkpoint.load(tmp_path, step=2)[1]["step"] == 2


def test_a_payload_without_its_json_does_not_count(tmp_path):
    save(tmp_path, 1)
    made = save(tmp_path, 2)
    (tmp_path / "checkpoints" / "step-00000002.json").unlink()
    assert (tmp_path / "checkpoints" / made.payload).exists()
    assert checkpoint.load(tmp_path)[0].step == checkpoint.last(tmp_path).step == 1


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "json"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, harm):
    save(tmp_path, 1)
    made = save(tmp_path, 2)
    payload = tmp_path / "checkpoints" / made.payload
    content = bytearray(payload.read_bytes())
    if harm == "cut":
        payload.write_bytes(content[:-10])
    elif harm == "flip":
        content[len(content) // 2] ^= 255
        payload.write_bytes(content)
    elif harm == "gone":
        payload.unlink()
    else:
        payload.with_suffix(".json").write_text('{"step": 2, "payl')
    found = checkpoint.load(tmp_path)[0]
    assert found.step == 1
    assert "step 2" in checkpoint.passed_over(tmp_path, found)
    assert "from step 1" in checkpoint.passed_over(tmp_path, found)


def test_where_the_newest_is_whole_nothing_is_passed_over(tmp_path):
    save(tmp_path, 1)
    assert checkpoint.passed_over(tmp_path, save(tmp_path, 2)) == ""


def test_all_damaged_is_a_clear_error_and_nothing_is_deleted(tmp_path):
    made = save(tmp_path, 7)
    payload = tmp_path / "checkpoints" / made.payload
    payload.write_bytes(b"not a checkpoint")
    with pytest.raises(BadFile, match="no checkpoint") as caught:
        checkpoint.load(tmp_path)
    assert "step 7" in caught.value.why
    assert payload.exists()


def test_foreign_bytes_with_a_right_crc_are_refused_too(tmp_path):
    made = save(tmp_path, 7)
    payload = tmp_path / "checkpoints" / made.payload
    payload.write_bytes(b"x" * 100)
    import msgspec

    altered = msgspec.structs.replace(made, bytes=100, crc32=checkpoint._crc(payload))
    payload.with_suffix(".json").write_bytes(msgspec.json.encode(altered))
    with pytest.raises(BadFile, match="no checkpoint"):
        checkpoint.load(tmp_path)


def test_a_full_disk_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(NoRoom, match="disk are needed"):
        checkpoint.check_disk(tmp_path, 1000.0)


def test_a_disk_that_fills_while_writing_keeps_the_earlier_ones(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(state, file):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(NoRoom, match="step 2 could not be written"):
        save(tmp_path, 2)
    assert steps(tmp_path) == [1]
    assert not list((tmp_path / "checkpoints").glob("*.part"))
    assert checkpoint.load(tmp_path)[0].step == 1


def test_write_whole_never_leaves_half_a_file(tmp_path, monkeypatch):
    target = tmp_path / "config.json"
    checkpoint.write_whole(target, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_flush", full)
    with pytest.raises(NoRoom):
        checkpoint.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["config.json"]
