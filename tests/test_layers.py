"""Imports go one way, and files and functions stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("sparkdml/**/*.py"), *ROOT.glob("jobs/**/*.py")])

BOTTOM = {"errors", "owners", "arrays", "files", "model_content", "saved", "manifest", "storage", "text"}
ARRAYS_ONLY = {"array_model", "sklearn_twin"}
SHARED = {"estimator", "model", "params", "checks", "solver_choice", "summary", "inference", "evaluation"}
SHARED |= {"persistence", "bounds", "linalg", "columns", "given", "assembly", "training_problem", "diagnostics"}
FAMILIES = {"regression", "classification"}
FACE = SHARED | FAMILIES | {"datasets"}
BELOW = {
    "errors": {"text"},
    "arrays": {"errors"},
    "files": {"errors", "arrays"},
    "model_content": {"arrays"},
    "saved": {"errors", "arrays", "files", "model_content"},
    "manifest": {"errors", "files", "saved"},
    "array_model": {"errors", "arrays", "files", "saved", "manifest", "optim"},
    "sklearn_twin": {"errors", "array_model"},
    "storage": {"errors", "files"},
    "text": set(),
    "owners": set(),
    "optim": {"errors", "arrays"},
    "blocks": BOTTOM,
    "engine": BOTTOM | {"optim", "blocks"},
    **{name: BOTTOM | ARRAYS_ONLY | SHARED | {"optim", "blocks", "engine"} for name in (*SHARED, *FAMILIES)},
    "datasets": {"errors"},
    "__init__": {"engine", "array_model"},
    "jobkit": BOTTOM | FACE | {"optim", "blocks", "engine"},
    "jobs": BOTTOM | FACE | {"optim", "blocks", "engine", "jobkit"},
}


def part_of(path: Path) -> str:
    """The part of the product that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "sparkdml" else parts[0]


NAMES_IN_FILES = {"saved", "model_content", "array_model"}  # whose strings are what files of models say


def imported(tree: ast.Module, part: str = "") -> Iterator[str]:
    """The modules that a file names, in statements and in strings that are looked up later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and part not in NAMES_IN_FILES:
            yield from [node.value] if node.value.startswith("sparkdml.") else []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    names = [name for name in imported(ast.parse(path.read_text()), part) if "." in name or name == "pyspark"]
    ours = {name.split(".")[1] for name in names if name.startswith("sparkdml.")} - {part, "__version__"}
    assert ours <= BELOW[part]
    if part in {"optim", "errors", "arrays", "files", "model_content", "saved", "manifest", *ARRAYS_ONLY}:
        assert not [name for name in names if name.split(".")[0] == "pyspark"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) - docstring_lines(tree) < 300
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert length(node) - docstring_lines(node, nested=False) < 60, node.name


def test_warnings_point_at_the_callers_line() -> None:
    """Which `errors.warn` finds; `progress` passes them on."""
    found = [path.name for path in FILES if "warnings.warn(" in path.read_text()]
    assert found == ["errors.py"]


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined, no-any-return]


def docstring_lines(tree: ast.AST, nested: bool = True) -> int:
    """How many lines the docstrings take."""
    owners = [node for node in (ast.walk(tree) if nested else [tree]) if hasattr(node, "body")]
    texts = (node.body[0] for node in owners if isinstance(node.body, list) and node.body)
    return sum(
        length(text)
        for text in texts
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    )
