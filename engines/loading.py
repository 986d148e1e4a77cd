"""Loading a model from disk into the engine that runs it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, cast

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.engine import Engine, EngineOptions, RowByRow
from engines.model_directory import Component, EngineName, Precision, hashed_files
from engines.plan_metadata import PlanMetadata
from engines.rtx_metadata import RtxMetadata, unverified_sentence

Target = Literal["cpu", "torch-cuda", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]

CACHE_VARIABLE = "TOONIFY_CACHE"
"""The environment variable with the cache folder; processes of Triton's python backend inherit it from the server."""


class EngineModule(Protocol):
    """The functions of every engine's module, which is imported when such an engine is first requested."""

    def available_precisions(self) -> tuple[Precision, ...]:
        """The precisions that the engine offers on this machine.

        Raises:
            EngineError: the engine needs a GPU that is not there.
        """
        ...

    def open_engine(self, model: Path, signature: Signature, options: EngineOptions) -> Engine:
        """Load an ONNX file; the engine ignores options that do not apply to it.

        Raises:
            EngineError: the engine cannot run the model on this machine.
        """
        ...


@dataclass(frozen=True)
class EngineKind:
    """An engine's requirements and capabilities.

    Attributes:
        module: the name of its ``EngineModule``.
        library: the name of the module that must be importable.
        extra: the extra of this package that installs the library.
        target: the kind of machine that the engine is for.
        precisions: the precisions that it computes in.
        components: the components that it runs.
        compiled: whether the library is part of this package and compiled during its installation.
        live: whether it runs live generators.
    """

    module: str
    library: str
    extra: str
    target: Target
    precisions: tuple[Precision, ...]
    components: tuple[Component, ...] = ("encoder", "isf", "generator", "mapping", "classifier")
    compiled: bool = False
    live: bool = False

    @property
    def remedy(self) -> str:
        """The remedy in the error about a missing library."""
        if self.compiled:
            return "install a C++ compiler, then this package again"
        return f"pip install 'toonify-serve[{self.extra}]'"


ENGINES: dict[EngineName, EngineKind] = {
    "onnxruntime": EngineKind("engines.onnxruntime.engine", "onnxruntime", "cpu", "cpu", ("fp32",), live=True),
    "openvino": EngineKind("engines.openvino.engine", "openvino", "cpu", "cpu", ("fp32", "bf16"), live=True),
    "winograd": EngineKind(
        "engines.winograd.engine",
        "engines.winograd.avx2",
        "cpu",
        "cpu",
        ("fp32", "int16"),
        ("encoder", "generator"),
        compiled=True,
        live=True,
    ),
    "torch": EngineKind("engines.torch.engine", "torch", "gpu", "torch-cuda", ("fp32", "fp16"), live=True),
    "onnxruntime-cuda": EngineKind(
        "engines.onnxruntime.cuda", "onnxruntime", "gpu", "onnxruntime-cuda", ("fp32", "fp16")
    ),
    "tensorrt": EngineKind("engines.tensorrt.loading", "tensorrt", "tensorrt", "tensorrt", ("fp32", "fp16")),
    "tensorrt-rtx": EngineKind(
        "engines.tensorrt_rtx.loading", "tensorrt_rtx_bindings", "tensorrt-rtx", "tensorrt-rtx", ("fp32", "fp16")
    ),
}


def is_installed(engine: EngineName) -> bool:
    """Whether the engine's library can be imported."""
    return find_spec(ENGINES[engine].library) is not None


def available_precisions(engine: EngineName) -> tuple[Precision, ...]:
    """The precisions that an installed engine offers on this machine.

    Raises:
        EngineError: the engine needs a GPU that is not there.
    """
    return _module(engine).available_precisions()


def engine_from_directory(directory: Path, *, threads: int = 0, cache: Path | None = None) -> Engine:
    """Load a model directory with the engine and precision that its manifest names; see ``engine_from_onnx``.

    An engine that was never verified on a GPU is loaded, and a warning is logged.

    Raises:
        ModelDirectoryError: the directory is incomplete or altered, or changes while it is loaded.
        EngineError: the engine's library is not installed.
    """
    with ExitStack() as failure:
        with hashed_files(directory) as hashed:
            manifest = hashed.manifest
            if manifest.is_unverified:
                logging.getLogger(__name__).warning(unverified_sentence(directory))
            engine = engine_from_onnx(
                directory / manifest.model_file,
                manifest.signature,
                manifest.engine,
                manifest.precision,
                threads=threads,
                cache=cache,
                plans=manifest.plans,
                hashes=manifest.files,
                opened=hashed.opened,
            )
            failure.callback(engine.close)
        failure.pop_all()
    return RowByRow(engine) if manifest.component == "mapping" else engine


def engine_from_onnx(
    model: Path,
    signature: Signature,
    engine: EngineName,
    precision: Precision = "fp32",
    *,
    threads: int = 0,
    cache: Path | None = None,
    plans: PlanMetadata | RtxMetadata | None = None,
    hashes: Mapping[str, str] | None = None,
    opened: Path | None = None,
) -> Engine:
    """Load an ONNX file.

    Args:
        model: the ONNX file.
        signature: the model's inputs and outputs.
        engine: the engine's name.
        precision: the arithmetic's precision.
        threads: the number of threads of an engine on a CPU; 0 uses every core.
        cache: the folder where engines that compile models keep them for the next load; without it ``tensorrt-rtx``
            takes the user's cache, and others keep nothing.
        plans: metadata of the plans of TensorRT, or of TensorRT for RTX, beside the file; other engines have none.
        hashes: the SHA-256 of the plans by name; without them the plans are loaded as they are.
        opened: where to open the file instead, if it has been opened and hashed.

    Raises:
        EngineError: the engine's library is not installed, it does not offer the precision or live generators, or
            plans are missing or were built for another machine.
    """
    _check(engine, precision)
    if signature.blend:
        check_live(f"engine {engine}", [engine])
    options = EngineOptions(precision, threads, cache, plans, hashes or {}, opened)
    return _module(engine).open_engine(model, signature, options)


def check_live(subject: str, engines: Iterable[EngineName]) -> None:
    """Raise EngineError unless one of the engines runs live generators."""
    if not any(ENGINES[engine].live for engine in engines):
        able = {name: kind.target for name, kind in ENGINES.items() if kind.live}
        targets = " or ".join(dict.fromkeys(able.values()))
        raise EngineError(
            subject,
            got="a live generator",
            expected=f"one of a single blend; live generators run in {', '.join(able)} (--target {targets})",
            remedy="export blends instead, one for each --r-swap",
        )


def _module(engine: EngineName) -> EngineModule:
    # Imported on demand: a machine needs only the library of the engine that it uses.
    return cast("EngineModule", import_module(ENGINES[engine].module))


def _check(engine: EngineName, precision: Precision) -> None:
    kind = ENGINES[engine]
    if not is_installed(engine):
        raise EngineError(
            f"engine {engine}",
            got="no such library",
            expected=f"the package {kind.library}",
            remedy=kind.remedy,
        )
    if precision not in kind.precisions:
        raise EngineError(
            f"engine {engine}",
            got=f"precision {precision}",
            expected=" or ".join(kind.precisions),
            remedy="choose one of these, or another engine",
        )
