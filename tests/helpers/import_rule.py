"""The rule of imports between modules, read from their source: nothing is imported and nothing is run.

Every import counts, late ones and those for type checkers too. Where a module calls ``import_module``, each of its
string literals that is the name of a module counts as an import of that module.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FLOORS = ("engines.contract", "engines", "serving", "export", "benchmarks")
"""The packages from the lowest to the highest; a module imports from its own floor and from those below."""

GROUND_LIBRARIES = {"numpy", *sys.stdlib_module_names}
"""What the lowest floor may import from outside."""

LEARNING_LIBRARIES = {"torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "pycuda", "triton"}


@dataclass(frozen=True)
class Import:
    """One module's mention of another one, which may be of another distribution.

    ``at_once``: whether the importer's own import loads it; not so in a function, for type checkers, and by name.
    """

    importer: str
    imported: str
    line: int
    at_once: bool = True

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


@dataclass(frozen=True)
class House:
    """The modules below a folder, and their imports."""

    modules: frozenset[str]
    imports: tuple[Import, ...]

    def upward(self) -> list[Import]:
        """Imports from a higher floor, and those of the lowest floor from outside."""
        return [found for found in self.imports if self._is_upward(found)]

    def circles(self) -> list[tuple[str, ...]]:
        """Groups of modules each of which imports, through others, itself."""
        return _circles(self._by_importer(self.imports))

    def loaded_by(self, package: str) -> dict[str, str]:
        """What a package's modules load, late or not, and what is loaded with that: name -> one that imports it."""
        loaded = {module: package for module in self.modules if _is_inside(module, package)}
        edges = self._by_importer(one for one in self.imports if one.at_once or one.importer in loaded)
        waiting = list(loaded)
        while waiting:
            importer = waiting.pop()
            for imported in edges.get(importer, ()):
                for name in _with_parents(imported):
                    if name not in loaded:
                        loaded[name] = importer
                        waiting.append(name)
        return loaded

    def _by_importer(self, imports: Iterable[Import]) -> dict[str, set[str]]:
        edges: dict[str, set[str]] = {module: set() for module in self.modules}
        for found in imports:
            edges[found.importer].add(found.imported)
        return edges

    def _is_upward(self, found: Import) -> bool:
        own, other = floor_of(found.importer), floor_of(found.imported)
        if other is None:
            return own == 0 and found.imported.partition(".")[0] not in GROUND_LIBRARIES
        return own is not None and other > own


def read_house(root: Path) -> House:
    """Read every module of the packages of ``FLOORS`` that lie in a folder."""
    packages = dict.fromkeys(floor.partition(".")[0] for floor in FLOORS)
    files = {_name_of(path.relative_to(root)): path for name in packages for path in (root / name).rglob("*.py")}
    found = [one for module, path in files.items() for one in imports_of(module, path, files)]
    return House(frozenset(files), tuple(found))


def imports_of(module: str, path: Path, modules: Collection[str]) -> Iterator[Import]:
    """The imports in a module's file; ``modules`` tells a submodule from a name that a module defines."""
    tree = ast.parse(path.read_text(), str(path))
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    loads_by_name = any("import_module" in (_called(node), *_imported_names(node)) for node in ast.walk(tree))
    for node, at_once in _nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(module, name if name in modules else base, node.lineno, at_once)
        elif loads_by_name and isinstance(node, ast.Constant) and node.value in modules:
            yield Import(module, str(node.value), node.lineno, at_once=False)


def floor_of(module: str) -> int | None:
    """The place of a module's package in ``FLOORS``; None for another distribution's module."""
    return next((number for number, floor in enumerate(FLOORS) if _is_inside(module, floor)), None)


def loads_of_a_client(house: House, package: str) -> list[str]:
    """What a package loads that a client must not: learning libraries, and engines."""
    wrong = []
    for name, importer in house.loaded_by(package).items():
        learning = name.partition(".")[0] in LEARNING_LIBRARIES
        engine = _is_inside(name, "engines") and name != "engines" and not _is_inside(name, "engines.contract")
        if learning or engine:
            wrong.append(f"{importer} imports {name}")
    return wrong


def _is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _nodes(tree: ast.AST, *, at_once: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below one, and whether each of them is run when the module is imported."""
    for child in ast.iter_child_nodes(tree):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield child, at_once
        yield from _nodes(child, at_once=at_once and not function and not typing)


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _imported_names(node: ast.AST) -> Sequence[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def _circles(edges: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """The modules that reach one another; a module alone is no circle unless it imports itself."""
    reached = {module: _reached_from(module, edges) for module in edges}
    circles = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in edges
        if module in reached[module]
    }
    return sorted(circles)


def _reached_from(module: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [*edges[module]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges.get(name, ()))
    return reached
