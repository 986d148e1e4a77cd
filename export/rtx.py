"""Engines of TensorRT for RTX: built on any machine, and verified on a GPU at once or later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from engines import engine_from_onnx
from engines.contract.errors import ExportError
from engines.contract.tensors import Signature
from engines.matching import mapping_of
from engines.model_directory import EngineName, Manifest, Precision, manifest_of, read_manifest, write_manifest
from engines.plan_metadata import PlanMetadata
from engines.rtx_metadata import RtxMetadata, check_gpu
from export.onnx_files import save_model
from export.plans import AGAINST_ONNX, samples_of
from export.selection import Candidate, ProgressCallback, select_engine, verification_error
from export.verification import Sample, bound_for, verify


def rtx_engine_of(model: Path, signature: Signature, precision: Precision, report: ProgressCallback) -> RtxMetadata:
    """Build the engine of an ONNX file, in the file's folder.

    Its ``verified_on`` names this machine's GPU, on which the caller verifies it before a manifest is written.

    Raises:
        EngineError: TensorRT for RTX is missing, or refuses the model.
    """
    # Imported late, since only machines for this target have the library.
    from engines.tensorrt_rtx.build import build_engine
    from engines.tensorrt_rtx.loading import usable_gpu

    metadata = build_engine(model, signature, precision, report)
    return metadata.model_copy(update={"verified_on": usable_gpu()})


def select_graph(
    model: Path,
    signature: Signature,
    samples: Sequence[Sample],
    inputs: str,
    candidates: Sequence[tuple[EngineName, Precision]],
    report: ProgressCallback,
    *,
    plans: PlanMetadata | RtxMetadata | None = None,
    known: tuple[EngineName, Precision] | None = None,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Verify, in place of an engine that cannot be run here, the graph that it was built of, in ONNX Runtime.

    See ``select_engine``; no engine is tried.

    Raises:
        VerificationError: the graph's output is not within the bound of the engine's precision.
    """
    from engines.tensorrt.graph import graph_without_plugins

    ((engine, precision),) = candidates
    report(f"verifying the graph of {engine} {precision} in ONNX Runtime")
    bound = bound_for(signature.outputs[0].dtype, precision)
    with TemporaryDirectory() as folder:
        graph = Path(folder) / model.name
        save_model(graph_without_plugins(model, signature, None, precision), graph)
        with engine_from_onnx(graph, signature, "onnxruntime") as runner:
            # Six pictures of 1024x1024 at once would take seven gigabytes on a processor.
            description = f"the first two of {inputs}, the engine's graph in ONNX Runtime"
            verification = verify(runner, samples[:2], description, bound)
    chosen = Candidate(engine, precision, math.nan, math.nan, verification, bound.holds(verification))
    if not chosen.passed:
        raise verification_error(model, chosen)
    return chosen, ()


def verify_directory(directory: Path, report: ProgressCallback) -> Manifest:
    """Verify the engine of a model directory on this machine's GPU, and complete the manifest.

    That of a generator's mapping network comes first.

    Raises:
        ModelDirectoryError: the directory is incomplete or altered.
        ExportError: its engine is not one of TensorRT for RTX.
        EngineError: there is no GPU that the engine was built for, or it does not run.
        VerificationError: the engine's output is not within its bound; the manifest stays as it was.
    """
    from engines.tensorrt_rtx.loading import current_gpu, installed_library

    manifest = read_manifest(directory)
    plans, model, signature = manifest.plans, directory / manifest.model_file, manifest.signature
    if not isinstance(plans, RtxMetadata):
        raise ExportError(
            str(directory),
            got=f"a model for {manifest.engine}, which was verified at its export",
            expected="one of --target tensorrt-rtx",
            remedy="use it as it is",
        )
    mapping = mapping_of(directory)
    if mapping and isinstance(manifest_of(mapping).plans, RtxMetadata):
        verify_directory(mapping, report)
    gpu = current_gpu()
    check_gpu(plans, installed_library().__version__, gpu, directory)
    report(f"running {manifest.model_file} in ONNX Runtime")
    samples = samples_of(model, signature)
    candidates = [(manifest.engine, manifest.precision)]
    chosen, _ = select_engine(model, signature, samples, AGAINST_ONNX, candidates, report, plans=plans)
    changes = {"plans": plans.model_copy(update={"verified_on": gpu}), "verification": chosen.verification}
    verified = manifest.model_copy(update=changes)
    write_manifest(directory, verified)
    return verified
