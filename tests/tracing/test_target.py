"""Code by file and name: what can travel to another process, and what is refused with the next step."""

import pytest

from onecard.core.errors import OnecardError
from onecard.tracing.target import target_of


def build():
    return None


def make():
    captured = 3

    def inner():
        return captured

    return inner


class Thing:
    def method(self):
        return None


def test_a_function_at_the_top_level_is_its_file_and_name():
    target = target_of(build)
    assert target.file == __file__
    assert target.function == "build"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (lambda: None, "a lambda"),
        (make(), "defined inside another function"),
        (Thing().method, "is a method"),
        (len, "not a Python function"),
        ("missing.py", "there is no file"),
        ("missing.py:build", "there is no file"),
    ],
)
def test_code_that_cannot_travel_is_refused_with_the_next_step(given, what):
    with pytest.raises(OnecardError, match=what) as error:
        target_of(given)
    assert error.value.next


def test_a_file_may_be_a_script_or_have_a_function(tmp_path):
    file = tmp_path / "train.py"
    file.write_text("")
    assert target_of(file).function is None
    assert target_of(f"{file}:build").function == "build"
    with pytest.raises(OnecardError, match="not the name of a function"):
        target_of(f"{file}:not-a-name")
    notebook = tmp_path / "train.ipynb"
    notebook.write_text("")
    with pytest.raises(OnecardError, match="not a Python file"):
        target_of(notebook)
