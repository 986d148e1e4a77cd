"""An exported model -> an engine of TensorRT for RTX, on a machine with or without a GPU.

There is no timing cache: it has no effect on such an engine, and a build with one looks for a GPU. There are no plugins
either, so one engine takes all batch sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engines.batch_sizes import BATCH_SIZES
from engines.contract.tensors import Signature
from engines.model_directory import Precision
from engines.rtx_metadata import CAPABILITIES, RtxMetadata
from engines.tensorrt.builder import Build, Report
from engines.tensorrt.graph import graph_without_plugins
from engines.tensorrt_rtx.loading import installed_library

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as trt


def build_engine(
    model: Path,
    signature: Signature,
    precision: Precision,
    report: Report,
    *,
    capabilities: Sequence[int] = CAPABILITIES,
) -> RtxMetadata:
    """Build the engine ``<model>.rtx`` beside the model.

    Args:
        model: an ONNX file as ``toonify-export`` writes it.
        signature: the model's inputs and outputs.
        precision: the arithmetic's precision; inputs and outputs keep their types.
        report: called with a short description of every stage.
        capabilities: the compute capabilities, times 10, to build for.

    Raises:
        EngineError: TensorRT for RTX is missing or refuses the model, or the model was not exported by this package.
    """
    library = installed_library()
    report(f"building the engine of {model.stem} in TensorRT for RTX")
    graph = graph_without_plugins(model, signature, None, precision)
    build = Build(library, graph, report, remedy="look at the messages above, or choose another --target")
    set_capabilities(build.config, [library.ComputeCapability.__members__[f"SM{each}"] for each in capabilities])
    build.allow_batches(signature, BATCH_SIZES)
    file = model.with_suffix(".rtx")
    file.write_bytes(build.serialised())
    return RtxMetadata(version=library.__version__, capabilities=tuple(capabilities), file=file.name)


def set_capabilities(config: trt.IBuilderConfig, capabilities: Sequence[trt.ComputeCapability]) -> None:
    """Set the compute capabilities that an engine is built for."""
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(capability, index)
