"""A live generator's graph -> its weights at any blend, one resolution at a time.

The graph computes each weight of a layer: a ``Blend`` of the parents' raw parameters by the shares of the layer's
resolution, then a gain. The same operations are done here, with the arithmetic of a blend that is made at export.
The parents are the base, number 0, and the transferred models; shares are those of the transferred models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.blends import TransferShares, combined
from engines.contract.tensors import Signature
from engines.graph.expectations import check_weights
from engines.graph.generator_weights import (
    MAX_RESOLUTIONS,
    WEIGHT_BLEND,
    ExportedGeneratorWeights,
    GeneratorReader,
    SynthesisBlockWeights,
    generator_lookup,
)
from engines.graph.lookup import GraphLookup
from engines.graph.onnx_graph import Node, OnnxGraph
from engines.graph.stored_constants import StoredConstants

MAX_DEPTH = 3
"""Operations from a parameter to a layer: a noise strength is blended, gets its gain and scales the noise."""


class LiveGeneratorWeights:
    """The weights of a live generator; those of each parent are checked when they are read.

    Attributes:
        parents: the number of parents.
    """

    def __init__(self, graph: OnnxGraph, signature: Signature) -> None:
        """Find the layers of a graph, whose parameters are kept for blends.

        Raises:
            EngineError: the graph is not a live generator as this package exports it.
        """
        self._graph, self._signature = graph, signature
        self.parents = 1 + signature.transferred
        lookup = generator_lookup(graph)
        if not any(node.operator == WEIGHT_BLEND for node in graph.nodes):
            raise lookup.error("a blend of two networks, as a live generator has")
        self._blocks = GeneratorReader(lookup).blocks()
        if len(self._blocks) > MAX_RESOLUTIONS:
            raise lookup.error(f"at most {MAX_RESOLUTIONS} resolutions")

    def parent(self, number: int) -> ExportedGeneratorWeights:
        """Read a parent's weights.

        Raises:
            EngineError: the graph is not a live generator of the signature.
        """
        shares = tuple(float(number == other) for other in range(1, self.parents))
        weights = ExportedGeneratorWeights(
            w_avg=self._reader(0, shares).w_avg(),
            constant=self.constant(shares),
            resolutions=tuple(self.block(level, shares) for level in range(len(self._blocks))),
        )
        lookup = generator_lookup(self._graph)
        check_weights(lookup.subject, weights, self._signature, lookup.stored_numbers)
        return weights

    def keep_in_file(self, path: Path) -> None:
        """Read large parameters from the graph's file ``path`` from now on, instead of holding them in memory.

        Raises:
            EngineError: later, by ``block`` and ``constant``, if the file was written meanwhile.
        """
        self._graph = replace(self._graph, constants=StoredConstants(path, self._graph.constants))

    def constant(self, shares: TransferShares) -> AnyArray:
        """Return the constant input of a blend, [1, I, 4, 4]."""
        return self._reader(0, shares).constant(self._blocks[0])

    def block(self, level: int, shares: TransferShares) -> SynthesisBlockWeights:
        """Return the weights of a blend at a resolution, counted from the lowest."""
        return self._reader(level, shares).block(self._blocks[level])

    def _reader(self, level: int, shares: TransferShares) -> GeneratorReader:
        constants = _BlendedConstants(generator_lookup(self._graph), level, shares)
        return GeneratorReader(generator_lookup(replace(self._graph, constants=constants)))


class _BlendedConstants(Mapping[str, AnyArray]):
    """The constants of a graph, and the tensors that are computed from them, at the shares of one resolution."""

    def __init__(self, lookup: GraphLookup, level: int, shares: TransferShares) -> None:
        self._lookup, self._shares = lookup, shares
        first = level * len(shares)
        self._places = [*range(first, first + len(shares))]  # of the shares in the flattened blend
        self._stored = lookup.graph.constants

    def __getitem__(self, name: str) -> AnyArray:
        with np.errstate(all="ignore"):
            return self._value(name, MAX_DEPTH)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def _value(self, name: str, depth: int) -> AnyArray:
        node = self._lookup.giver(name)
        if node is None or depth == 0:
            return self._stored[name]
        if node.operator == WEIGHT_BLEND:
            return self._blended(node)
        if node.operator not in ("Div", "Mul"):
            raise KeyError(name)
        value = self._value(self._lookup.input(node, 0), depth - 1)
        gain = self._value(self._lookup.input(node, 1), depth - 1)
        if value.dtype != np.float32 or gain.dtype != np.float32 or gain.size != 1:
            raise self._lookup.error(f"one float32 as the gain {self._lookup.input(node, 1)!r}")
        return np.asarray(value / gain if node.operator == "Div" else value * gain).reshape(value.shape)

    def _blended(self, node: Node) -> AnyArray:
        count = len(self._shares)
        if len(node.inputs) != 2 * count + 1:
            raise self._lookup.error(f"{count + 1} arrays and {count} shares before {node.outputs[:1]}")
        gathers = [self._lookup.before(node, index, "Gather") for index in range(count + 1, 2 * count + 1)]
        places = [self._lookup.integer(gather, 1) for gather in gathers]
        if places != self._places:
            raise self._lookup.error(f"the shares {self._places} of {node.outputs[:1]}, which has the shares {places}")
        values = [self._stored[self._lookup.input(node, index)] for index in range(count + 1)]
        if {value.dtype for value in values} != {np.dtype(np.float32)} or len({value.shape for value in values}) > 1:
            raise self._lookup.error(f"float32 arrays of one shape before {node.outputs[:1]}")
        return np.asarray(combined(values, self._shares))
