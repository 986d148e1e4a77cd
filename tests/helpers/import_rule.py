"""The imports between modules, read from their source without importing or running anything.

Every import counts, also one in a function or for type checkers. Where a module calls ``import_module``, each of its
string literals that is the name of a module counts as an import of that module.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAYERS = ("engines.contract", "engines", "serving", "export", "benchmarks")
"""The packages from the lowest layer to the highest; a module may import from its own layer and from those below."""

LOWEST_LAYER_LIBRARIES = {"numpy", *sys.stdlib_module_names}
"""The libraries that the lowest layer may import."""

ML_LIBRARIES = {"torch", "onnx", "onnxscript", "onnxruntime", "openvino", "triton"}
ML_LIBRARIES |= {"tensorrt", "tensorrt_rtx_bindings", "pycuda"}


@dataclass(frozen=True)
class Import:
    """An import of one module by another; the imported module may belong to another distribution.

    ``at_once``: whether importing the importer loads the module; false in a function, for type checkers, and by name.
    """

    importer: str
    imported: str
    line: int
    at_once: bool = True

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"


@dataclass(frozen=True)
class ImportGraph:
    """The modules below a folder, and their imports."""

    modules: frozenset[str]
    imports: tuple[Import, ...]

    def upward(self) -> list[Import]:
        """Imports from a higher layer, and imports of the lowest layer that are not among its libraries."""
        return [one for one in self.imports if self._is_upward(one)]

    def cycles(self) -> list[tuple[str, ...]]:
        """Groups of modules that import each other in a cycle, directly or through others."""
        return _cycles(self._by_importer(self.imports))

    def loaded_by(self, package: str) -> dict[str, str]:
        """All modules that a package's modules load, at once or late, directly or not: name -> one that imports it."""
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
        for one in imports:
            edges[one.importer].add(one.imported)
        return edges

    def _is_upward(self, one: Import) -> bool:
        own, other = layer_of(one.importer), layer_of(one.imported)
        if other is None:
            return own == 0 and one.imported.partition(".")[0] not in LOWEST_LAYER_LIBRARIES
        return own is not None and other > own


def read_import_graph(root: Path) -> ImportGraph:
    """Read every module of those packages of ``LAYERS`` that lie in a folder."""
    packages = dict.fromkeys(layer.partition(".")[0] for layer in LAYERS)
    files = {_name_of(path.relative_to(root)): path for name in packages for path in (root / name).rglob("*.py")}
    imports = [one for module, path in files.items() for one in imports_of(module, path, files)]
    return ImportGraph(frozenset(files), tuple(imports))


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


def layer_of(module: str) -> int | None:
    """The index of a module's package in ``LAYERS``; None for another distribution's module."""
    return next((number for number, layer in enumerate(LAYERS) if _is_inside(module, layer)), None)


def forbidden_client_imports(graph: ImportGraph, package: str) -> list[str]:
    """Imports by which a package loads what a client must not: machine-learning libraries, and engines."""
    forbidden = []
    for name, importer in graph.loaded_by(package).items():
        is_ml_library = name.partition(".")[0] in ML_LIBRARIES
        is_engine = _is_inside(name, "engines") and name != "engines" and not _is_inside(name, "engines.contract")
        if is_ml_library or is_engine:
            forbidden.append(f"{importer} imports {name}")
    return forbidden


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
    """All nodes below a node, each with whether it runs when the module is imported."""
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


def _cycles(edges: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Groups of modules that reach one another; a single module is a cycle only if it imports itself."""
    reachable = {module: _reachable_from(module, edges) for module in edges}
    cycles = {
        tuple(sorted(other for other in reachable[module] if module in reachable.get(other, ())))
        for module in edges
        if module in reachable[module]
    }
    return sorted(cycles)


def _reachable_from(module: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    reachable: set[str] = set()
    waiting = [*edges[module]]
    while waiting:
        name = waiting.pop()
        if name not in reachable:
            reachable.add(name)
            waiting.extend(edges.get(name, ()))
    return reachable
