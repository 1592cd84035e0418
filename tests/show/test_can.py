"""The tables of can, compare and plan at the widths that terminals have."""

import io

import msgspec
import pytest
from rich.console import Console

from onecard import api
from onecard.show.can import can_view, compare_view
from onecard.show.plan import plan_view


def text(view, width):
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    console.print(view, crop=False)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def plans():
    return api.can("RTX 4070 Ti")


@pytest.mark.parametrize("width", [80, 100, 110, 160])
def test_no_line_of_can_is_longer_than_the_terminal(plans, width):
    lines = text(can_view(plans, "GeForce RTX 4070 Ti", "11.99 GiB, 11.35 GiB usable"), width)
    assert max(len(line.rstrip()) for line in lines) <= width


@pytest.mark.parametrize("width", [100, 110, 160])
def test_a_case_is_one_line_from_100_columns_on(plans, width):
    lines = [line.rstrip() for line in text(can_view(plans, "card", "usable"), width)]
    for plan in plans:
        name = plan.settings.get("model") or plan.notes[0]
        assert any(name in line and line.endswith("/s") for line in lines), name


def test_columns_stand_under_each_other_in_all_groups(plans):
    lines = [line.rstrip() for line in text(can_view(plans, "card", "usable"), 120)]
    ends = {line.index(" GiB") for line in lines if " of " in line and line.endswith("/s")}
    assert len(ends) == 1


def test_cards_side_by_side_fit_80_columns():
    answers = api.compare("RTX 4070 Ti", "RTX 3060", "RTX 4070 Ti SUPER")
    lines = [line.rstrip() for line in text(compare_view(answers), 80)]
    assert max(map(len, lines)) <= 80
    assert any("504 GB/s" in line and "360 GB/s" in line and "672 GB/s" in line for line in lines)
    rows = [line for line in lines if line.startswith("llama-3.1-8b")]
    assert rows and all(row.count("✓") == 3 for row in rows)


def test_a_command_is_one_line_whatever_the_width():
    plan = api.plan("chat", model="llama-3-8b", on="RTX 4070 Ti", budget="9GiB")
    lines = [line.strip() for line in text(plan_view(plan), 60)]
    assert f"next  {plan.command}" in lines
    assert plan.command.endswith(f"--budget {9 * 1024**3}")


def test_names_are_no_markup():
    plan = api.plan("chat", model="llama-3-8b", on="RTX 4070 Ti")
    odd = msgspec.structs.replace(plan, settings={**plan.settings, "model": "[bold]x[/bold] :smile:"})
    assert any("[bold]x[/bold] :smile:" in line for line in text(plan_view(odd), 100))
