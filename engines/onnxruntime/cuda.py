"""ONNX Runtime on an NVIDIA GPU: float32 through its CUDA provider, float16 through its TensorRT provider.

Inputs and outputs have fixed buffers on the GPU, one set for each prepared batch size, so that the providers can replay
a CUDA graph for each size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnxruntime import OrtValue

from engines.batch_sizes import BATCH_SIZES, batch_slices
from engines.contract.arrays import AnyArray
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature, TensorSpec
from engines.engine import BaseEngine, EngineOptions
from engines.library_errors import library_errors
from engines.onnxruntime.session import LIBRARY, REMEDY, open_session

if TYPE_CHECKING:
    from engines.model_directory import Precision

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"

_PROVIDER: dict[Precision, str] = {"fp32": CUDA, "fp16": TENSORRT}


class OnnxRuntimeCudaEngine(BaseEngine):
    """Runs an ONNX file of this package.

    With the device "cpu", which is meant for tests, the same calls go to the CPU provider.
    """

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        precision: Precision = "fp32",
        device: str = "cuda",
        batches: Collection[int] = BATCH_SIZES,
        cache: Path | None = None,
    ) -> None:
        """Load ``model`` and run each batch size in ``batches`` once; other sizes are split into these.

        Args:
            model: the ONNX file.
            signature: the model's inputs and outputs.
            precision: "fp32" or "fp16".
            device: "cuda", or "cpu" for tests.
            batches: the batch sizes to prepare.
            cache: the folder where the TensorRT provider keeps built engines by model and GPU; a build takes minutes.

        Raises:
            EngineError: the provider is not available on this machine, or it refuses the model.
        """
        super().__init__(signature)
        providers = providers_for(precision, cache) if device == "cuda" else ["CPUExecutionProvider"]
        session = open_session(model, signature, providers=providers)
        _check_provider(session.get_providers()[0], precision, device)
        self._name = model.name
        with library_errors(LIBRARY, self._name, remedy=REMEDY):
            self._batches = {batch: _BatchBuffers(session, signature, batch, device) for batch in sorted(batches)}

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        batch = len(next(iter(inputs.values())))
        with library_errors(LIBRARY, self._name, remedy=REMEDY):
            parts = [
                self._batches[size].run({name: value[part] for name, value in inputs.items()})
                for size, part in batch_slices(batch, self._batches)
            ]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.signature.outputs}

    def close(self) -> None:
        """Release the GPU's memory."""
        self._batches.clear()


class _BatchBuffers:
    """The buffers of one batch size, bound to a session; a provider with CUDA graphs captures one for each size."""

    def __init__(self, session: Any, signature: Signature, batch: int, device: str) -> None:
        self._session, self._size = session, batch
        self._inputs = {spec.name: _buffer(spec, batch, device) for spec in signature.inputs}
        self._outputs = {spec.name: _buffer(spec, batch, device) for spec in signature.outputs}
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(batch))
        # The first run chooses algorithms and captures the graph, which must not delay a request.
        self.run({spec.name: np.zeros((batch, *spec.dims), spec.dtype.numpy) for spec in signature.inputs})

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run up to ``batch`` samples, padded to the full size."""
        count = len(next(iter(inputs.values())))
        for name, value in inputs.items():
            self._inputs[name].update_inplace(_pad_batch(value, self._size))
        self._session.run_with_iobinding(self._binding, self._options)
        # Copied: on a CPU, numpy() would be a view of the buffer.
        return {name: value.numpy()[:count].copy() for name, value in self._outputs.items()}


def _buffer(spec: TensorSpec, batch: int, device: str) -> Any:
    return OrtValue.ortvalue_from_shape_and_type([batch, *spec.dims], spec.dtype.numpy, device, 0)


def _pad_batch(value: AnyArray, size: int) -> AnyArray:
    """The batch, padded to ``size`` with copies of its last sample."""
    return value if len(value) == size else np.concatenate([value, value[-1:].repeat(size - len(value), 0)])


def providers_for(precision: Precision, cache: Path | None = None) -> list[Any]:
    """ONNX Runtime's ``providers`` for a precision, with their options."""
    # The provider enables TF32 by default, which has 10 bits of mantissa.
    cuda = (CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE", "enable_cuda_graph": "1"})
    if precision == "fp32":
        return [cuda]
    options = {"trt_fp16_enable": "1", "trt_cuda_graph_enable": "1"}
    for kind in ("engine", "timing") if cache else ():
        options |= {f"trt_{kind}_cache_enable": "1", f"trt_{kind}_cache_path": str(cache)}
    # Only one of the two providers may capture graphs: nested captures are an error.
    return [(TENSORRT, options), (CUDA, {"use_tf32": "0"})]


def available_precisions() -> tuple[Precision, ...]:
    """The precisions whose provider this ONNX Runtime has; only loading a model shows if its libraries are there."""
    return tuple(p for p, provider in _PROVIDER.items() if provider in onnxruntime.get_available_providers())


def _check_provider(actual: str, precision: Precision, device: str) -> None:
    # If a CUDA library is missing, ONNX Runtime only logs a warning and falls back to another provider.
    if device == "cuda" and actual != _PROVIDER[precision]:
        raise EngineError(
            f"ONNX Runtime {onnxruntime.__version__} in {precision}",
            got=actual,
            expected=_PROVIDER[precision],
            remedy="install onnxruntime-gpu, without onnxruntime, and the CUDA libraries it names, or use --target cpu",
        )


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> OnnxRuntimeCudaEngine:
    """See ``EngineModule``.

    The model is opened by its own name, since the TensorRT provider names by it what it keeps in the cache.
    """
    return OnnxRuntimeCudaEngine(model, signature, precision=options.precision, cache=options.cache)
