"""The allocator of graphs: brute force on small graphs, and the buffers that llama.cpp prints."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecard.parts.ggml_graph import Graph


def test_a_chain_that_overwrites_needs_one_block():
    graph = Graph(1)
    x = graph.node(100)
    for _ in range(5):
        x = graph.inplace(100, x)
    assert graph.peak() == 100


def test_a_chain_that_does_not_overwrite_needs_two_blocks():
    graph = Graph(1)
    x = graph.node(100)
    for _ in range(5):
        x = graph.node(100, x)
    assert graph.peak() == 200


def test_an_operand_with_another_reader_is_not_overwritten():
    graph = Graph(1)
    x = graph.node(100)
    y = graph.inplace(100, x)
    graph.inplace(100, y, x)
    assert graph.peak() == 200


def test_a_view_keeps_its_origin_and_is_never_overwritten():
    graph = Graph(1)
    x = graph.node(100)
    y = graph.inplace(100, graph.view(x))
    graph.node(10, y)
    assert graph.peak() == 200


def test_inputs_are_there_from_the_start():
    graph = Graph(1)
    late = graph.input(50)
    x = graph.node(100)
    graph.node(10, x)
    graph.node(10, late)
    assert graph.peak() == 160


def test_sizes_are_aligned():
    graph = Graph(64)
    graph.node(65)
    assert graph.peak() == 128


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 6), st.booleans()), min_size=1, max_size=25))
def test_it_never_holds_less_than_what_lives_nor_more_than_everything(steps):
    graph = Graph(1)
    nodes = []
    for size, back, overwrites in steps:
        source = nodes[-1 - back % len(nodes)] if nodes else None
        make = graph.inplace if overwrites else graph.node
        nodes.append(make(size, source))
    readers = {n: [i for i, m in enumerate(nodes) if n in graph.sources[m]] for n in nodes}
    living = []
    for i in range(len(nodes)):
        held = [n for j, n in enumerate(nodes[: i + 1]) if not readers[n] or max(readers[n]) >= i or j == i]
        # An overwritten operand counts once.
        shared = sum(graph.size[s] for s in graph.sources[nodes[i]] if graph.overwrites[nodes[i]])
        living.append(sum(graph.size[n] for n in held) - shared)
    assert max(living) <= graph.peak() <= sum(graph.size)


@pytest.mark.parametrize("order", itertools.permutations((30, 20, 10)))
def test_the_smallest_hole_that_fits_is_taken(order):
    graph = Graph(1)
    holes = [graph.node(size) for size in (30, 20, 10)]
    walls = []
    for _ in holes:
        walls.append(graph.node(1))
    for hole in holes:
        graph.store(hole)
    for size in order:
        graph.node(size)
    # All three fit where the first three were freed, in any order, since each takes the hole of its size or one that holds both.
    assert graph.peak() <= 63 + 30
