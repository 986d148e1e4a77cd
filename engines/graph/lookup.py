"""Nodes and constants of a graph, found by their place in it; what is missing is named in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.graph.onnx_graph import Node, OnnxGraph


@dataclass(frozen=True)
class GraphLookup:
    """A graph that is read as a network of one kind.

    Every method raises EngineError where the graph does not have what it asks for.

    Attributes:
        graph: the graph.
        role: the kind of network, such as "a generator".
        expected: the kind of network at length, for errors.
    """

    graph: OnnxGraph
    role: str
    expected: str

    @property
    def subject(self) -> str:
        """The network in words, for errors."""
        return f"{self.graph.name} as {self.role}"

    @property
    def stored_numbers(self) -> int:
        """How many numbers the graph's constants have together."""
        return sum(array.size for array in self.graph.constants.values())

    def error(self, missing: str) -> EngineError:
        """Return the error of a graph without an expected part."""
        return EngineError(
            self.subject,
            got=f"a graph without {missing:.300}",
            expected=self.expected,
            remedy="use another engine, or export the model again with this version of the package",
        )

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {output: node for node in self.graph.nodes for output in node.outputs}

    @cached_property
    def _readers(self) -> dict[str, Node]:
        return {name: node for node in reversed(self.graph.nodes) for name in node.inputs}

    def input(self, node: Node, index: int) -> str:
        """Return the name of a node's input."""
        if not -len(node.inputs) <= index < len(node.inputs):
            raise self.error(f"input {index} of a {node.operator}")
        return node.inputs[index]

    def output(self, node: Node) -> str:
        """Return the name of a node's first output."""
        if not node.outputs:
            raise self.error(f"an output of a {node.operator}")
        return node.outputs[0]

    def producer(self, name: str, *operators: str) -> Node:
        """Return the node that gives a tensor, which has one of these operators, or any if none is named."""
        node = self._producers.get(name)
        if node is None or (operators and node.operator not in operators):
            raise self.error(f"a {' or '.join(operators) or 'node'} that gives {name!r}")
        return node

    def before(self, node: Node, index: int, *operators: str) -> Node:
        """Return the node that gives a node's input; see ``producer``."""
        return self.producer(self.input(node, index), *operators)

    def giver(self, name: str) -> Node | None:
        """Return the node that gives a tensor; None for constants and the graph's inputs."""
        return self._producers.get(name)

    def all_before(self, node: Node) -> list[Node]:
        """Return the nodes that give a node's inputs."""
        return [self._producers[name] for name in node.inputs if name in self._producers]

    def any_before(self, node: Node, operator: str) -> Node:
        """Return the node with this operator that gives any one of a node's inputs."""
        for candidate in self.all_before(node):
            if candidate.operator == operator:
                return candidate
        raise self.error(f"a {operator} before the {node.operator} of {', '.join(node.inputs)}")

    def reader(self, node: Node) -> Node | None:
        """Return the first node that reads a node's output; None if none does."""
        return self._readers.get(self.output(node))

    def constant(self, node: Node, index: int, *shape: int | None) -> AnyArray:
        """Return a node's constant input as float32; None in ``shape`` stands for any size of at least 1."""
        return self._constant(node, index, np.dtype(np.float32), shape)

    def integer(self, node: Node, index: int) -> int:
        """Return the only element of a node's constant input, an int64."""
        return int(self._constant(node, index, np.dtype(np.int64), (1,))[0])

    def number(self, node: Node, name: str) -> float:
        """Return an attribute that is one number."""
        value = node.attributes.get(name)
        if not isinstance(value, (int, float)):
            raise self.error(f"the number {name!r} of a {node.operator}")
        return float(value)

    def require(self, node: Node, **attributes: object) -> None:
        """Check that attributes of a node have these values."""
        for name, expected in attributes.items():
            if node.attributes.get(name, expected) != expected:
                raise self.error(f"{name} = {expected} of a {node.operator}")

    def linear(self, node: Node) -> tuple[AnyArray, AnyArray]:
        """Return weight [O, I] and bias [O] of a Gemm. The export leaves out a bias that is zero."""
        self.require(node, transA=0, transB=1, alpha=1.0, beta=1.0)
        if not node.attributes.get("transB"):
            raise self.error("a Gemm whose weight is transposed")
        weight = self.constant(node, 1, None, None)
        outputs = len(weight)
        return weight, self.constant(node, 2, outputs) if len(node.inputs) > 2 else np.zeros(outputs, np.float32)

    def _constant(self, node: Node, index: int, dtype: np.dtype[np.generic], shape: tuple[int | None, ...]) -> AnyArray:
        name = self.input(node, index)
        value = self.graph.constants.get(name)
        wanted = f"{dtype.name} [{', '.join('any' if size is None else str(size) for size in shape)}]"
        if value is None:
            raise self.error(f"the constant {name!r} of a {node.operator}, {wanted}")
        same = len(shape) == value.ndim and all(
            own == size if own is not None else size >= 1 for own, size in zip(shape, value.shape, strict=True)
        )
        if value.dtype != dtype or not same:
            got = f"{value.dtype.name} {[*value.shape]}"
            raise self.error(f"{wanted} at {name!r}, input {index} of a {node.operator}, which is {got}")
        return value
