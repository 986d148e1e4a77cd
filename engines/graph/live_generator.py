"""A live generator's graph -> its weights at any blend, one resolution at a time.

The graph computes each weight of a layer: a ``Blend`` of both parents' raw parameters by the share of the layer's
resolution, then a gain. The same operations are done here, with the arithmetic of a blend that is made at export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines.contract.arrays import AnyArray
from engines.contract.blends import combined
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
    """The weights of a live generator; both parents' are checked when they are read."""

    def __init__(self, graph: OnnxGraph, signature: Signature | None = None) -> None:
        """Find the layers of a graph, whose parameters are kept for blends.

        Raises:
            EngineError: the graph is not a live generator as this package exports it.
        """
        self._graph, self._signature = graph, signature
        lookup = generator_lookup(graph)
        if not any(node.operator == WEIGHT_BLEND for node in graph.nodes):
            raise lookup.error("a blend of two networks, as a live generator has")
        self._blocks = GeneratorReader(lookup).blocks()
        if len(self._blocks) > MAX_RESOLUTIONS:
            raise lookup.error(f"at most {MAX_RESOLUTIONS} resolutions")

    def parent(self, share: float) -> ExportedGeneratorWeights:
        """Read the base, of share 0, or the transferred model, of share 1.

        Raises:
            EngineError: the graph is not a live generator of the signature.
        """
        reader = self._reader(0, share)
        weights = ExportedGeneratorWeights(
            w_avg=reader.w_avg(),
            constant=self.constant(share),
            resolutions=tuple(self.block(number, share) for number in range(len(self._blocks))),
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

    def constant(self, share: float) -> AnyArray:
        """Return the constant input, [1, I, 4, 4], at a share of the transferred model."""
        return self._reader(0, share).constant(self._blocks[0])

    def block(self, number: int, share: float) -> SynthesisBlockWeights:
        """Return the weights of a resolution, counted from the lowest, at a share of the transferred model."""
        return self._reader(number, share).block(self._blocks[number])

    def _reader(self, number: int, share: float) -> GeneratorReader:
        constants = _BlendedConstants(generator_lookup(self._graph), number, share)
        return GeneratorReader(generator_lookup(replace(self._graph, constants=constants)))


class _BlendedConstants(Mapping[str, AnyArray]):
    """The constants of a graph, and the tensors that are computed from them, at one resolution's share."""

    def __init__(self, lookup: GraphLookup, number: int, share: float) -> None:
        self._lookup, self._number, self._share = lookup, number, share
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
        number = self._lookup.integer(self._lookup.before(node, 2, "Gather"), 1)
        if number != self._number:
            raise self._lookup.error(f"the share {self._number} of {node.outputs[:1]}, which has share {number}")
        base, transfer = (self._stored[self._lookup.input(node, index)] for index in (0, 1))
        if {base.dtype, transfer.dtype} != {np.dtype(np.float32)} or base.shape != transfer.shape:
            raise self._lookup.error(f"two float32 arrays of one shape before {node.outputs[:1]}")
        return np.asarray(combined([base, transfer], [1 - self._share, self._share]))
