"""``python -m benchmarks.gpu.network_launches``: the launches of encoder and ISF head, counted without a GPU.

The engine runs these networks operator by operator in PyTorch, so each operator that is no view is a launch, as is each
of this package's kernels. They are run here on tensors that have shapes only, where kernels are noted and not launched,
and each launch is given the time of ``launch_costs``. The rows are recorded, since networks of public sizes take a
minute to write, and the table of ``engines/kernels/README.md`` is made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import onnx
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.generated import KERNELS_README, line, with_section
from benchmarks.gpu.launch_costs import Launch, excitation_launch, generator_launches, library_product
from benchmarks.gpu.launches import BATCHES
from benchmarks.networks import FULL, encoder_weights, isf_weights
from benchmarks.records import RESULTS_FOLDER, append_records, read_records
from engines.contract.tensors import Signature, encoder_signature, isf_signature
from engines.kernels.launch import KernelSpec
from engines.kernels.operands import channels_last
from engines.torch.cuda_graphs import empty
from engines.torch.engine import network_from_onnx
from export.graphs.encoder import onnx_from_encoder
from export.graphs.isf import onnx_from_isf
from export.networks.encoder import encoder_from_weights
from export.networks.isf import isf_from_weights
from export.onnx_files import save_model

_NO_LAUNCHES = frozenset(("empty", "promote_types", "_unsafe_view"))
"""Operators that are no views by PyTorch's account, and launch nothing."""

SMALLEST_SHARE = 0.02
"""Share of a network's time below which its operators are summed in the table."""

RECORDED = RESULTS_FOLDER / "gpu_network_launches.csv"

aten = torch.ops.aten


@dataclass(frozen=True)
class NetworkRow:
    """The launches of one operator with one limit in a network."""

    network: str
    batch: int
    operator: str
    limit: str
    launches: int
    microseconds: float


class _LaunchCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type its modes
    """Collects the launches of the operators that run within the ``with`` block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches: list[Launch] = []

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket is aten.convolution:
            # As cuDNN gives it for weights in this format, which PyTorch forgets for tensors without content.
            result = channels_last(result)
        if not (function.is_view or function.overloadpacket.__name__ in _NO_LAUNCHES):
            self.launches.append(_launch(function, args, result))
        return result

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """Inside the block, this package's kernels are collected too, and not launched."""

        def launch(spec: KernelSpec, batch: int, operands: Mapping[str, Tensor | None]) -> None:
            self.launches.append(excitation_launch(spec, batch))

        with patch.object(KernelSpec, "launch", launch):
            yield


def _launch(function: Any, args: tuple[Any, ...], result: Any) -> Launch:
    name = function.overloadpacket.__name__
    moved = sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor))
    match function.overloadpacket:
        case aten.convolution:
            weight, groups, (batch, channels, *size) = args[1], args[8], result.shape
            pixels, depth = batch * prod(size), weight[0].numel()
            return library_product(name, size[0], pixels, channels // groups, depth, moved, groups)
        case aten.mm | aten.addmm | aten.bmm:
            *times, rows, depth = args[-2].shape
            return library_product(name, 0, rows, args[-1].shape[-1], depth, moved, prod(times))
    # An operator without products is as fast as memory; its blocks are taken as enough for the whole GPU.
    return Launch(name, 0, 1 << 10, moved, moved, 0, 0)


def launches_of(proto: onnx.ModelProto, signature: Signature) -> dict[int, list[Launch]]:
    """Run an exported network in half precision on tensors without content; return its launches by batch size."""
    device, launches = torch.device("meta"), {}
    with TemporaryDirectory() as folder:
        model = Path(folder) / "network.onnx"
        save_model(proto, model)
        network = network_from_onnx(model, signature, device, half=True)
    for batch in BATCHES:
        inputs = {spec.name: empty(spec, batch, device) for spec in signature.inputs}
        with torch.no_grad(), _LaunchCounter() as counter, counter.kernels():
            network(inputs)
        launches[batch] = counter.launches
    return launches


def rows_of(network: str, batch: int, launches: Iterable[Launch]) -> Iterator[NetworkRow]:
    """Sum launches of one operator that the same limit holds back, the longest sum first."""
    groups: dict[tuple[str, str], list[float]] = {}
    for launch in launches:
        groups.setdefault((launch.kernel, launch.limit), []).append(1e6 * launch.seconds)
    for key, times in sorted(groups.items(), key=lambda item: -sum(item[1])):
        yield NetworkRow(network, batch, *key, len(times), round(sum(times), 1))


def table(rows: Sequence[NetworkRow]) -> str:
    """The launches and calculated times of all networks and of the pipeline."""
    lines = ["", "| network | batch | operator | limited by | launches | calculated us |", "|---|--:|---|---|--:|--:|"]
    for network, batch in dict.fromkeys((row.network, row.batch) for row in rows):
        own = [row for row in rows if (row.network, row.batch) == (network, batch)]
        lines += [
            line(network, str(batch), row.operator, row.limit, str(row.launches), f"{row.microseconds:.1f}")
            for row in with_others(own)
        ]
    return "\n".join([*lines, "", *(_sum_line(rows, batch) for batch in BATCHES), ""])


def with_others(rows: Sequence[NetworkRow]) -> list[NetworkRow]:
    """Sum a network's rows of small shares in a last one."""
    total = sum(row.microseconds for row in rows)
    shown = [row for row in rows if row.microseconds >= SMALLEST_SHARE * total]
    rest = [row for row in rows if row not in shown]
    others = replace(
        rows[0],
        operator="others",
        limit="",
        launches=sum(row.launches for row in rest),
        microseconds=sum(row.microseconds for row in rest),
    )
    return [*shown, others] if rest else shown


def _sum_line(rows: Sequence[NetworkRow], batch: int) -> str:
    parts = {
        network: sum(row.microseconds for row in rows if (row.network, row.batch) == (network, batch)) / 1e3
        for network in ("encoder", "isf")
    }
    parts["generator"] = 1e3 * sum(launch.seconds for launch in generator_launches(FULL.channels, batch))
    sums = ", ".join(f"{network} {milliseconds:.3f}" for network, milliseconds in parts.items())
    return f"- **Batch {batch}**, calculated ms: {sums}; together {sum(parts.values()):.3f}."


def main() -> None:
    """Count every launch, record the sums, and write the table."""
    encoder, isf = encoder_signature(FULL.geometry), isf_signature(FULL.geometry)
    networks = {
        "encoder": launches_of(onnx_from_encoder(encoder_from_weights(encoder_weights(FULL)), encoder), encoder),
        "isf": launches_of(onnx_from_isf(isf_from_weights(isf_weights(FULL)), isf), isf),
    }
    counted = ((name, batch, part) for name, batches in networks.items() for batch, part in batches.items())
    RECORDED.unlink(missing_ok=True)
    append_records(RECORDED, NetworkRow, [row for part in counted for row in rows_of(*part)])
    section = table(read_records(RECORDED, NetworkRow))
    KERNELS_README.write_text(with_section(KERNELS_README.read_text(), "benchmarks.gpu.network_launches", section))


if __name__ == "__main__":
    main()
