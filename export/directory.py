"""Building a model directory: run the network in PyTorch, export it, choose its engine, write the manifest.

A directory appears under its name complete and verified, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from engines.contract.arrays import AnyArray
from engines.contract.atomic import atomic_directory
from engines.contract.attributes import Ranges
from engines.contract.tensors import Signature
from engines.hashed_files import sha256_of
from engines.model_directory import Component, EngineName, LiveBlend, Manifest, Precision, Sizes, write_manifest
from engines.plan_metadata import PlanMetadata
from engines.rtx_metadata import RtxMetadata
from export.engine_choices import EngineChoices, choice_key
from export.onnx_files import save_model
from export.plans import plans_of
from export.provenance import source_files, tool_versions
from export.rtx import rtx_engine_of, select_graph
from export.selection import ProgressCallback, select_engine
from export.targets import ExportOptions, check_export
from export.verification import BATCHES, Reference, batches_for, describe_batches, reference_samples
from export.weights import Source


@dataclass(frozen=True)
class Job:
    """What a model directory is built from.

    Attributes:
        component: the network's kind.
        sizes: the sizes in its manifest.
        signature: its inputs and outputs.
        sources: role and file of each checkpoint.
        details: the manifest's ``details``.
        inputs: the verification's inputs in words.
        live: what makes a generator live.
        blends: the blends at which a live generator is verified, [K, G] or [K, G, T].
        ranges: the ranges of a head of directions.
    """

    component: Component
    sizes: Sizes
    signature: Signature
    sources: Sequence[tuple[str, Source]]
    details: Mapping[str, Any]
    inputs: str
    live: LiveBlend | None = None
    blends: AnyArray | None = None
    ranges: Ranges = field(default_factory=dict)


def build_directory(
    job: Job,
    reference: Reference,
    export: Callable[[], onnx.ModelProto],
    options: ExportOptions,
    report: ProgressCallback,
    w: AnyArray | None = None,
    *,
    add_files: Callable[[Path], None] = lambda _: None,
    add_more: Callable[[Path], None] = lambda _: None,
) -> Manifest:
    """Export a network and verify it in the engine that will run it.

    Args:
        job: what is built.
        reference: the network in PyTorch.
        export: writes its ONNX graph.
        options: the directory to write, and the engine.
        report: called with a phrase at every stage.
        w: W+ codes [K, L, D] for the verification.
        add_files: adds files of the model to the directory, whose hashes are part of the manifest.
        add_more: adds to the directory what lies beside the model.

    Raises:
        ExportError: the directory already exists.
        EngineError: the engine or precision is not available on this machine.
        VerificationError: no engine's output is within its bound; nothing was written.
    """
    # Checked first, so that minutes of work do not end in "already there" or "not installed".
    candidates = check_export(job.component, options, live=job.live is not None)
    sources = source_files(job.sources, options.licences)
    report(f"running the {job.component} in PyTorch")
    sizes = BATCHES[options.target] if job.blends is None else (1, len(job.blends))
    samples = reference_samples(reference, batches_for(job.signature, w, blends=job.blends, sizes=sizes))
    report(f"exporting the {job.component} to ONNX")
    proto, tools = export(), tool_versions()
    choices = options.choices if options.target == "cpu" else EngineChoices()
    key = choice_key(job.component, proto, candidates, tools)
    with atomic_directory(options.directory, force=options.force) as directory:
        model = directory / f"{job.component}.onnx"
        save_model(proto, model)
        add_files(directory)
        onnx.checker.check_model(model, full_check=True)
        del proto  # it is as large as the file, and the engines need memory, too
        plans = _plans(job, model, candidates, options, report)
        inputs = f"{job.inputs}, {describe_batches(sizes)}"
        select = select_graph if isinstance(plans, RtxMetadata) and not plans.verified_on else select_engine
        chosen, tried = select(
            model, job.signature, samples, inputs, candidates, report, plans=plans, known=choices.get(key)
        )
        choices.remember(key, (chosen.engine, chosen.precision))
        manifest = Manifest(
            component=job.component,
            name=options.name,
            sizes=job.sizes,
            engine=chosen.engine,
            precision=chosen.precision,
            sources=sources,
            files={path.name: sha256_of(path) for path in sorted(directory.iterdir())},
            details={**job.details, "engines_tried": [candidate.as_json() for candidate in tried]},
            tools=tools,
            verification=chosen.verification,
            plans=plans,
            live=job.live,
            ranges=dict(job.ranges),
        )
        write_manifest(directory, manifest)
        add_more(directory)
    return manifest


def _plans(
    job: Job,
    model: Path,
    candidates: Sequence[tuple[EngineName, Precision]],
    options: ExportOptions,
    report: ProgressCallback,
) -> PlanMetadata | RtxMetadata | None:
    """Build the plans beside a model, if it is exported for TensorRT or for TensorRT for RTX."""
    if options.target not in ("tensorrt", "tensorrt-rtx"):
        return None
    ((_, precision),) = candidates
    if options.target == "tensorrt-rtx":
        return rtx_engine_of(model, job.signature, precision, report)
    return plans_of(model, job.signature, precision, report, options.plans)
