"""What a conversation says beside the answers: slower than planned, layers that are not where the plan has them."""

import pytest

from onecard.cli.talk import Talk


class Quiet:
    """A bar that nobody sees."""

    def __call__(self, event):
        pass

    def __exit__(self, *_):
        pass


def begun(layers=None):
    talk = Talk(Quiet(), quiet=False)
    rates = {"decode_tokens_per_s": [20.0, 25.0, 30.0]}
    talk({"event": "begin", "plan": {"estimate": {"rates": rates}, "settings": {"n_gpu_layers": layers}}})
    return talk


def answered(rate):
    return {"event": "answered", "output_tokens": 9, "decode_tokens_per_s": rate}


@pytest.mark.parametrize(("rate", "warned"), [(12.0, True), (22.0, False), (44.0, False)])
def test_only_a_rate_below_the_range_is_called_slow(rate, warned, capsys):
    begun()(answered(rate))
    err = capsys.readouterr().err
    assert "planned 20.0 to 30.0 tok/s" in err and ("slower than the plan" in err) == warned


@pytest.mark.parametrize(
    ("planned", "found", "words"), [(33, 20, "SPILLED: 20 of 33"), (20, 20, "as planned"), (33, 33, None)]
)
def test_spilled_layers_are_said(planned, found, words, capsys):
    begun(planned)({"event": "effective", "settings": {"layers_on_device": found, "layers": 33}})
    err = capsys.readouterr().err
    assert (words in err) if words else not err


def test_an_answer_is_printed_as_it_comes(capsys):
    talk = begun()
    for piece in ("Hel", "lo"):
        talk({"event": "text", "text": piece})
    assert capsys.readouterr().out == "Hello"
