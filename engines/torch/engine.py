"""PyTorch on a CUDA GPU, with CUDA graphs and in float16 with fused kernels; for generators, encoders and ISF heads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engines.batch_sizes import BATCH_SIZES
from engines.contract.arrays import AnyArray
from engines.contract.blends import check_blend
from engines.contract.checks import check_tensors
from engines.contract.errors import EngineError
from engines.contract.tensors import BLEND, Signature, TensorSpec
from engines.engine import BaseEngine, EngineOptions
from engines.graph.generator_weights import ExportedGeneratorWeights, generator_weights_from_graph, is_generator
from engines.graph.live_generator import LiveGeneratorWeights
from engines.graph.onnx_graph import read_graph
from engines.library_errors import library_errors
from engines.torch.batched_rows import with_batched_rows
from engines.torch.cuda_graphs import DTYPES, CudaGraphs, Network, empty
from engines.torch.excitation_fusion import with_excitations
from engines.torch.generator import TorchGenerator
from engines.torch.horizontal_fusion import fused_horizontally
from engines.torch.layer_backends import FusedBackend, LayerBackend, ReferenceBackend
from engines.torch.live_generator import LiveNetwork, LiveTorchGenerator
from engines.torch.operators import TorchGraph

if TYPE_CHECKING:
    from engines.model_directory import Precision

NetworkFactory = Callable[[torch.device], Network]


class TorchEngine(BaseEngine):
    """Runs an ONNX file of this package in PyTorch.

    With the device "cpu", which is slow and meant for tests, it computes the same formulas in float32 without kernels.
    """

    def __init__(
        self,
        model: Path | NetworkFactory,
        signature: Signature,
        *,
        precision: Precision = "fp16",
        device: str = "cuda",
        batches: Collection[int] = BATCH_SIZES,
        opened: Path | None = None,
    ) -> None:
        """Load ``model`` and capture a CUDA graph for each batch size in ``batches``; other sizes are split into these.

        Args:
            model: an ONNX file, or a function that creates a network of another origin on a given device.
            signature: the model's inputs and outputs.
            precision: "fp16" for an ONNX file's feature maps, while sums, styles and codes stay in float32; "fp32" for
                everything.
            device: "cuda", "cuda:1" or "cpu".
            batches: the batch sizes to capture.
            opened: where to open the ONNX file instead, if it has been opened and hashed.

        Raises:
            EngineError: there is no such GPU, it has too little memory, or the model was not exported by this package.
        """
        super().__init__(signature)
        self._device = resolve_device(device)
        self._gpu = self._device.type == "cuda"
        half = precision == "fp16" and self._gpu
        load = (
            partial(network_from_onnx, model, signature, half=half, opened=opened) if isinstance(model, Path) else model
        )
        try:
            with self._on_device():
                network = load(self._device)
                self._network = with_graphs(network, signature, self._device, batches) if self._gpu else network
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"{model.name if isinstance(model, Path) else 'the network'} on {device}",
                got="too little GPU memory",
                expected=f"enough for batches of {max(batches)}",
                remedy="load the model for smaller batches",
            ) from error

    @torch.no_grad()
    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        with self._on_device():
            outputs = self._network(
                {spec.name: self._to_device(spec, inputs[spec.name]) for spec in self.signature.inputs}
            )
            fetched = {spec.name: self._to_host(spec, outputs[spec.name]) for spec in self.signature.outputs}
            if self._gpu:
                torch.cuda.current_stream().synchronize()
        return {name: value.numpy() for name, value in fetched.items()}

    # Copies go through pinned memory, which PyTorch keeps for reuse: the GPU copies it without the host's help.
    def _to_device(self, spec: TensorSpec, value: AnyArray) -> Tensor:
        if spec.name == BLEND:
            return torch.tensor(value)  # the host reads it
        pinned = empty(spec, len(value), torch.device("cpu"), pinned=self._gpu)
        pinned.numpy()[...] = value
        return pinned.to(self._device, non_blocking=True)

    def _to_host(self, spec: TensorSpec, value: Tensor) -> Tensor:
        return empty(spec, len(value), torch.device("cpu"), pinned=self._gpu).copy_(value, non_blocking=True)

    @torch.no_grad()
    def run_on_gpu(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch whose inputs and outputs are on the engine's device, without waiting for the result.

        The work is enqueued on the device's current stream, so that one engine's outputs can be another one's inputs.
        A live generator waits for its ``blend``.

        Returns:
            The outputs, which the caller owns.

        Raises:
            EngineError: a tensor is missing, unknown, on another device, or not as the signature says.
            RequestError: a live generator's ``blend`` is no blend; see ``engines.contract.blends.check_blend``.
        """
        check_on_device(self.signature, inputs, self._device)
        if self.signature.blend:
            inputs = {**inputs, BLEND: inputs[BLEND].cpu()}
            check_blend(inputs[BLEND].numpy(), self.signature.blend)
        return self._network(inputs)

    def close(self) -> None:
        """Return the network's memory to PyTorch."""
        self._network = _raise_closed

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._gpu else nullcontext()


def network_from_onnx(
    model: Path, signature: Signature, device: torch.device, *, half: bool = False, opened: Path | None = None
) -> Network:
    """Load an ONNX file, or the same file from where it was ``opened``, on a device.

    ``half`` selects feature maps in float16 and fused kernels.

    Raises:
        EngineError: the model was not exported by this package.
    """
    graph = read_graph(model, opened)
    if signature.blend:
        return LiveNetwork(LiveTorchGenerator(LiveGeneratorWeights(graph, signature), _backend(half=half), device))
    if is_generator(graph):
        return generator_network(generator_weights_from_graph(graph, signature), device, half=half)
    outputs = frozenset(spec.name for spec in signature.outputs)
    with library_errors("PyTorch", graph.name, remedy="export the model again"):
        for rewrite in (with_excitations, with_batched_rows, fused_horizontally):
            graph = rewrite(graph, outputs)
    return TorchGraph(graph, outputs, device, half=half)


def generator_network(weights: ExportedGeneratorWeights, device: torch.device, *, half: bool) -> Network:
    """Create a generator on a device; for ``half`` see ``network_from_onnx``."""
    return TorchGenerator(weights, _backend(half=half), device)


def _backend(*, half: bool) -> LayerBackend:
    return FusedBackend() if half else ReferenceBackend()


def with_graphs(network: Network, signature: Signature, device: torch.device, batches: Collection[int]) -> Network:
    """Capture a network on a device; a live generator's graphs take no blend, which is set before they are replayed."""
    if not isinstance(network, LiveNetwork):
        return CudaGraphs(network, signature, device, batches)
    inputs = tuple(spec for spec in signature.inputs if spec.name != BLEND)
    return LiveNetwork(network.live, CudaGraphs(network.live, replace(signature, inputs=inputs), device, batches))


def resolve_device(name: str) -> torch.device:
    """The device of this name, such as "cuda", "cuda:1" or "cpu"; a GPU's index is filled in.

    Raises:
        EngineError: PyTorch finds no such GPU.
    """
    device = torch.device(name)
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise EngineError(
            f"PyTorch's device {name}",
            got=f"{count} CUDA GPUs" if torch.version.cuda else f"PyTorch {torch.__version__}, built without CUDA",
            expected="an NVIDIA GPU with a PyTorch for CUDA",
            remedy="check nvidia-smi and install that PyTorch, or use --target cpu",
        )
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


@dataclass(frozen=True)
class _TensorDescription:
    """A tensor's dtype and shape; the dtype is NumPy's if the contract has that type."""

    dtype: object
    shape: tuple[int, ...]


def _describe(tensor: Tensor) -> _TensorDescription:
    types = {dtype: own.numpy for own, dtype in DTYPES.items()}
    return _TensorDescription(types.get(tensor.dtype, tensor.dtype), tuple(tensor.shape))


def check_on_device(signature: Signature, inputs: Mapping[str, Tensor], device: torch.device) -> None:
    """Raise EngineError unless ``inputs`` match the signature and are on the device, N being at least 1 for all."""
    described = {name: _describe(value) for name, value in inputs.items()}
    check_tensors(signature, described, EngineError, whole="engine input", part="engine input")
    for name, value in inputs.items():
        if value.device != device:
            raise EngineError(
                f"engine input {name!r}",
                got=f"a tensor on {value.device}",
                expected=f"one on {device}",
                remedy="move it there before the call",
            )


def _raise_closed(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    raise EngineError("the engine", got="a call after close", expected="none", remedy="call it in its with block")


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``."""
    resolve_device("cuda")
    return ("fp32", "fp16")


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> TorchEngine:
    """See ``EngineModule``."""
    return TorchEngine(model, signature, precision=options.precision, opened=options.opened)
