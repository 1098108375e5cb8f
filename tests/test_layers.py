"""Imports go down only, and each outside package has one home: the source text against the layers of pyproject."""

from __future__ import annotations

import ast
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "simcluster"

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]

LAYERS = [
    layer.split(" : ")
    for contract in CONTRACTS
    if contract["type"] == "layers"
    for layer in reversed(contract["layers"])
]
"""From low to high; a module imports from its own layer and from lower ones."""

HOMES = {
    module: [importer.removeprefix("simcluster.") for importer in contract["allowed_importers"]]
    for contract in CONTRACTS
    if contract["type"] == "protected"
    for module in contract["protected_modules"]
}
"""Outside packages, and the only parts that may import them."""

FACADE = ("__init__", "__main__")
"""The package itself, which offers the parts above by name, and its command line."""

LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


class Import(NamedTuple):
    """One import of a module."""

    line: int
    name: str
    """Absolute, such as `simcluster.files.units.parse` or `numpy`."""


def imports(tree: ast.AST) -> Iterator[Import]:
    """Every import of a module, those inside functions and for type checkers included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{base}.{alias.name}") for alias in node.names)


def leaves(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where a module prints or ends the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "exit", "quit", "sys.exit", "os._exit"):
            yield node.lineno, f"calls {ast.unparse(node.func)}"
        elif isinstance(node, ast.Name) and node.id == "SystemExit":
            yield node.lineno, "ends the process"


def part_of(file: Path, package: Path) -> str:
    """The part of the package that a file belongs to: `kernel`, `units`."""
    return file.relative_to(package).parts[0].removesuffix(".py")


def faults(package: Path) -> list[str]:
    """Everything that breaks the layers or the homes, as `file:line: what`."""
    found = []
    for file in sorted(package.rglob("*.py")):
        part, where = part_of(file, package), file.relative_to(package.parent)
        if part in FACADE:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for line, name in imports(tree):
            outer, *inner = name.split(".")
            if name.startswith("."):
                found.append(f"{where}:{line}: a relative import")
            elif outer == "simcluster" and inner and inner[0] in LEVEL and LEVEL[inner[0]] > LEVEL[part]:
                found.append(f"{where}:{line}: {part} imports {inner[0]}, which is above it")
            elif part not in HOMES.get(outer, (part,)):
                found.append(f"{where}:{line}: {part} imports {outer}, which belongs to {', '.join(HOMES[outer])}")
        if part != "cli":
            found += [f"{where}:{line}: {part} {what}" for line, what in leaves(tree)]
    return found


def test_every_part_has_a_layer() -> None:
    """Each room of simcluster stands in the layer table, and the table names no others."""
    files = PACKAGE.rglob("*.py")
    assert set(LEVEL) == {part_of(file, PACKAGE) for file in files} - set(FACADE)


def test_imports_go_down() -> None:
    """Parts import from below, outside packages stay in their homes, and only the command line prints or exits."""
    assert [] == faults(PACKAGE)


def test_planted_faults_are_reported_with_their_place(tmp_path: Path) -> None:
    """An upward import, a stray simpy, a print and an exit are each found at their file and line."""
    package = tmp_path / "simcluster"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("data", "__pycache__"))
    file = package / "costs" / "gpu.py"
    lines = len(file.read_text(encoding="utf-8").splitlines())
    with file.open("a", encoding="utf-8") as text:
        text.write("def late():\n    from simcluster.kernel import engine\n")
        text.write("    import simpy\n    print(engine)\n    raise SystemExit\n")
    assert [
        f"simcluster/costs/gpu.py:{lines + 2}: costs imports kernel, which is above it",
        f"simcluster/costs/gpu.py:{lines + 3}: costs imports simpy, which belongs to kernel",
        f"simcluster/costs/gpu.py:{lines + 4}: costs calls print",
        f"simcluster/costs/gpu.py:{lines + 5}: costs ends the process",
    ] == faults(package)
