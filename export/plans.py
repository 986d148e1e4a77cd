"""TensorRT plans for an existing model directory, built on the machine that will run them."""

from __future__ import annotations

import shutil
from pathlib import Path

from engines import engine_from_onnx
from engines.contract.atomic import atomic_directory
from engines.contract.tensors import Signature
from engines.hashed_files import sha256_of
from engines.matching import MAPPING, mapping_of
from engines.model_directory import Manifest, Precision, read_manifest, write_manifest
from engines.plan_metadata import PlanMetadata
from engines.tensorrt.options import PlanOptions
from export.selection import ProgressCallback, select_engine
from export.targets import PrecisionChoice, candidates_for
from export.verification import BATCHES, Sample, batches_for, describe_batches

AGAINST_ONNX = f"seeded inputs, {describe_batches(BATCHES['tensorrt'])}, against the ONNX file in ONNX Runtime"
"""What a manifest says about the inputs of ``samples_of``."""


def plans_of(
    model: Path, signature: Signature, precision: Precision, report: ProgressCallback, options: PlanOptions
) -> PlanMetadata:
    """Build the plans of an ONNX file, in the file's folder.

    Raises:
        EngineError: TensorRT or a GPU is missing, or TensorRT refuses the model.
    """
    # Imported late, since only machines for this target have TensorRT.
    from engines.tensorrt.build import build_plans

    return build_plans(model, signature, precision, options, report)


def rebuild_plans(directory: Path, report: ProgressCallback, options: PlanOptions) -> Manifest:
    """Convert a model directory of any target to TensorRT plans for this machine, verified against its ONNX file.

    ISF heads and mapping networks stay in float32. The directory, with a generator's mapping network, is replaced as a
    whole, or not at all.

    Raises:
        ModelDirectoryError: the directory is incomplete or altered.
        EngineError: TensorRT or a GPU is missing, or TensorRT refuses the model.
        VerificationError: the plans' output is not within its bound.
    """
    mapping = mapping_of(directory)
    with atomic_directory(directory, force=True) as staging:
        rebuilt = _rebuild(directory, staging, report, options)
        if mapping:
            (staging / MAPPING).mkdir()
            _rebuild(mapping, staging / MAPPING, report, options)
    return rebuilt


def _rebuild(directory: Path, staging: Path, report: ProgressCallback, options: PlanOptions) -> Manifest:
    """Write the model directory with plans into the empty folder ``staging``."""
    manifest = read_manifest(directory)
    component, signature, live = manifest.component, manifest.signature, manifest.live is not None
    precision_choice: PrecisionChoice = "fp32" if component in ("isf", "mapping") else "fp16"
    candidates = candidates_for(component, "tensorrt", "auto", precision_choice, live=live)
    report(f"running {manifest.model_file} in ONNX Runtime")
    samples = samples_of(directory / manifest.model_file, signature)
    for name in manifest.files:
        if not manifest.plans or name not in manifest.plans.files:
            shutil.copyfile(directory / name, staging / name)
    model = staging / manifest.model_file
    ((engine, precision),) = candidates
    plans = plans_of(model, signature, precision, report, options)
    chosen, _ = select_engine(model, signature, samples, AGAINST_ONNX, candidates, report, plans=plans)
    files = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
    changes = {"engine": engine, "precision": precision, "files": files, "plans": plans}
    rebuilt = manifest.model_copy(update={**changes, "verification": chosen.verification})
    write_manifest(staging, rebuilt)
    return rebuilt


def samples_of(model: Path, signature: Signature) -> list[Sample]:
    """Run an exported ONNX file on seeded inputs, in the batch sizes in which engines for GPUs are verified."""
    (output,) = signature.outputs
    batches = batches_for(signature, sizes=BATCHES["tensorrt"])
    with engine_from_onnx(model, signature, "onnxruntime") as engine:
        return [Sample(batch, engine.run(batch)[output.name]) for batch in batches]
