"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
ALLOWED = {
    "manifests": {"manifests"},
    "pipeline": {"manifests", "pipeline"},
    "stages": {"manifests", "pipeline", "stages"},
    "workflows": {"manifests", "pipeline", "stages", "workflows"},
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] in ALLOWED}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    for path in (REPOSITORY / package).rglob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] in ALLOWED[package], f"{path} imports {name}"
            if package == "stages" and name.startswith("pipeline"):
                assert name == "pipeline.contract", f"{path} imports {name}: a stage knows the contract alone"
