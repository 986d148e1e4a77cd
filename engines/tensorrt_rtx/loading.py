"""The ``EngineModule`` of TensorRT for RTX, which checks an engine before it loads it: that takes seconds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.engine import Engine, EngineOptions
from engines.hashed_files import sha256_of
from engines.model_directory import Precision
from engines.rtx_metadata import CAPABILITIES, Gpu, RtxMetadata, check_gpu
from engines.tensorrt.device import current_context, gpu
from engines.tensorrt_rtx.runtime_cache import RuntimeCache, cache_file

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as trt

REBUILD = "export the model again with --target tensorrt-rtx"
"""The remedy in errors about an engine that does not run on this machine."""


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``; an engine can be built without a GPU."""
    return ("fp32", "fp16")


def installed_library() -> ModuleType:
    """The Python package of TensorRT for RTX.

    Raises:
        EngineError: it is missing.
    """
    try:
        import tensorrt_rtx_bindings
    except ImportError as error:
        raise EngineError(
            "TensorRT for RTX",
            got="no such package, or one that does not load",
            expected="its Python package, 1.7 or newer",
            remedy="install it with: pip install 'toonify-serve[tensorrt-rtx]'",
        ) from error
    library: ModuleType = tensorrt_rtx_bindings
    return library


def current_gpu() -> Gpu:
    """This machine's GPU.

    Raises:
        EngineError: there is none.
    """
    hardware = gpu(packages="'toonify-serve[tensorrt-rtx]' pycuda")
    major, minor = hardware.compute_capability()
    return Gpu(gpu=hardware.name(), capability=10 * major + minor)


def usable_gpu() -> Gpu | None:
    """This machine's GPU if engines are built for such a one; None if they cannot be run here."""
    try:
        here = current_gpu()
    except EngineError:
        return None
    return here if here.capability in CAPABILITIES else None


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> Engine:
    """See ``EngineModule``; the engine lies beside the ONNX file ``model``."""
    directory, metadata = model.parent, options.plans
    if not isinstance(metadata, RtxMetadata):
        raise EngineError(
            f"engine tensorrt-rtx on {directory}",
            got="no engine of TensorRT for RTX",
            expected="one in the manifest",
            remedy=REBUILD,
        )
    library, here, file = installed_library(), current_gpu(), directory / metadata.file
    check_gpu(metadata, library.__version__, here, directory)
    with current_context(gpu().retain_primary_context()):
        check_header(library, file)
    from engines.tensorrt_rtx.engine import RtxEngine

    digest = options.hashes.get(file.name) or sha256_of(file)
    cache = RuntimeCache(cache_file(options.cache, digest, library.__version__, here))
    return RtxEngine(library, file, signature, cache, remedy=REBUILD, hashes=options.hashes)


def check_header(library: ModuleType, file: Path) -> None:
    """Check by an engine's header, without loading it, whether it runs on this machine.

    Raises:
        EngineError: the library finds that it does not; the error holds the library's reasons.
    """
    runtime: trt.Runtime = library.Runtime(library.Logger(library.Logger.Severity.ERROR))
    with file.open("rb") as opened:
        validity, reasons = runtime.get_engine_validity(opened.read(runtime.engine_header_size))
    if validity == library.EngineValidity.INVALID:
        flags = library.EngineInvalidityDiagnostics.__members__.items()
        named = [name.lower().replace("_", " ") for name, flag in flags if int(reasons) & int(flag)]
        raise EngineError(
            str(file),
            got=f"an engine that TensorRT for RTX finds invalid ({', '.join(named) or 'without a reason'})",
            expected="one for this version, GPU and driver",
            remedy=f"{REBUILD}, or update the driver",
        )
