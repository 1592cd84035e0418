"""Who may import whom: a DAG of rooms, read from the source of every file (imports inside functions count too)."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "onecard"

MAY_IMPORT = {
    "core": set(),
    "parts": {"core"},
    "catalog": {"core"},
    "store": {"core"},
    "show": {"core"},
    "tracing": {"core"},
    "predict": {"core"},
    "planning": {"core", "predict"},
    "nets": set(),
    "data": set(),
    "engines": {"core", "catalog", "parts"},
    "workloads": {"core", "parts", "catalog", "engines", "nets"},
    "machine": {"core", "catalog"},
    "execute": {"core", "machine", "tracing", "engines", "workloads"},
    "api": {"core", "parts", "catalog", "store", "tracing", "predict", "planning"}
    | {"engines", "workloads", "machine", "execute", "show", "data"},
    "cli": {"api", "core", "show"},
    "lessons": {"api", "core", "show"},
}  # fmt: skip

HEAVY = {"torch", "numpy", "pandas", "polars", "transformers", "gguf", "xllamacpp", "matplotlib", "datasets"}
CHILD_ONLY = {"nets", "tracing"}
"""Rooms whose modules are imported only inside a run's child process, so that they may import torch at the top."""


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found += [(f"{node.module}.{alias.name}", node) for alias in node.names]
    return found


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_the_table_allows(room):
    forbidden = []
    for file in (SOURCE / room).rglob("*.py"):
        for name, _ in imports(ast.parse(file.read_text(encoding="utf-8"))):
            parts = name.split(".")
            if parts[0] == "onecard" and len(parts) > 1 and parts[1] in MAY_IMPORT:
                other = parts[1]
                if other != room and other not in MAY_IMPORT[room]:
                    forbidden.append(f"{file.relative_to(SOURCE)} imports {name}")
    assert not forbidden


def test_every_room_is_in_the_table():
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms <= set(MAY_IMPORT)


def test_heavy_libraries_are_imported_inside_functions():
    """Except in the rooms that only a child process enters."""
    found = []
    for file in files():
        room = file.relative_to(SOURCE).parts[0]
        if room in CHILD_ONLY:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        for node in top:
            for name, _ in imports(node):
                if name.split(".")[0] in HEAVY:
                    found.append(f"{file.relative_to(SOURCE)} imports {name} at its top")
    assert not found


def test_no_module_bears_the_name_of_a_verb():
    """onecard.plan is a function; a package of that name would hide it."""
    import onecard

    shadowed = [n for n in onecard.__all__ if (SOURCE / n).exists() or (SOURCE / f"{n}.py").exists()]
    assert not shadowed


def test_no_two_test_files_share_a_name():
    """pytest imports a test file by its bare name unless its folder is a package."""
    root = SOURCE.parent.parent / "tests"
    bare = [f.name for f in root.rglob("test_*.py") if not (f.parent / "__init__.py").exists()]
    assert len(bare) == len(set(bare)), sorted({n for n in bare if bare.count(n) > 1})
