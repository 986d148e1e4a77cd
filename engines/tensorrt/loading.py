"""TensorRT's ``EngineModule``, which checks the plans before it imports the engine: that import needs a GPU driver."""

from __future__ import annotations

from pathlib import Path

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.engine import Engine, EngineOptions
from engines.model_directory import Precision
from engines.plan_metadata import PlanMetadata, check_platform, rebuild_remedy
from engines.tensorrt.device import current_platform


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``."""
    current_platform()
    return ("fp32", "fp16")


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> Engine:
    """See ``EngineModule``; the plans lie beside the ONNX file ``model``."""
    directory = model.parent
    if not isinstance(options.plans, PlanMetadata):
        raise EngineError(
            f"engine tensorrt on {directory}",
            got="no plans",
            expected="plans in the manifest",
            remedy=rebuild_remedy(directory),
        )
    check_platform(options.plans, current_platform(), directory)
    from engines.tensorrt.engine import TensorRtEngine

    return TensorRtEngine(directory, signature, options.plans, hashes=options.hashes)
