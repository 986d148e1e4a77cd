"""An exported model -> TensorRT plans for this GPU.

A plan has one batch size, since plugins compiled ahead of time leak memory whenever a shape changes (TensorRT issue
4849, open for 11.2); without plugins it may have a range of batch sizes, which Triton's own tensorrt backend needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt
from onnx import ModelProto

from engines.batch_sizes import BATCH_SIZES
from engines.contract.atomic import atomic_file
from engines.contract.errors import EngineError
from engines.contract.tensors import Signature
from engines.graph.generator_weights import generator_weights_from_graph, is_generator
from engines.graph.onnx_graph import read_graph
from engines.hashed_files import sha256_of
from engines.model_directory import Precision
from engines.plan_metadata import PlanMetadata, Platform, kernel_capability
from engines.tensorrt.builder import Build, Report
from engines.tensorrt.device import current_context, current_platform, gpu
from engines.tensorrt.graph import graph_with_plugins, graph_without_plugins, plugin_nodes
from engines.tensorrt.options import PlanOptions


def build_plans(
    model: Path, signature: Signature, precision: Precision, options: PlanOptions, report: Report
) -> PlanMetadata:
    """Build plans beside the model: ``<model>.b<batch>.plan`` for each batch size, or one ``<model>.plan`` for all.

    Args:
        model: an ONNX file as ``toonify-export`` writes it.
        signature: the model's inputs and outputs.
        precision: the arithmetic's precision; inputs and outputs keep their types.
        options: what to build.
        report: called with a short description of every stage.

    Raises:
        EngineError: there is no GPU, the model was not exported by this package, or TensorRT rejects it.
    """
    here = current_platform()
    plans: dict[int, str] = {}
    plugins = capability = 0
    with current_context(gpu().retain_primary_context()):
        for name, batches in plan_batches(model.stem, options).items():
            report(f"building TensorRT's plan of {model.stem} for batches of {', '.join(map(str, batches))}")
            batch = batches[0] if len(batches) == 1 else None
            graph = graph_to_build(model, signature, batch, precision, options, here)
            plugins = plugin_nodes(graph)
            job = PlanJob(graph, signature, batches, here)
            model.with_name(name).write_bytes(build_plan(job, options, report))
            plans |= dict.fromkeys(batches, name)
    if plugins:
        capability = kernel_capability(here.capability, options.compatibility)
    return PlanMetadata(
        platform=here,
        compatibility=options.compatibility,
        plugins=plugins,
        kernel_capability=capability,
        plans=plans,
    )


def plan_batches(stem: str, options: PlanOptions) -> dict[str, tuple[int, ...]]:
    """The file name of each plan, and the batch sizes that it is for."""
    if options.one_plan:
        return {f"{stem}.plan": BATCH_SIZES}
    return {f"{stem}.b{batch}.plan": (batch,) for batch in BATCH_SIZES}


def graph_to_build(
    model: Path, signature: Signature, batch: int | None, precision: Precision, options: PlanOptions, here: Platform
) -> ModelProto:
    """The graph that TensorRT builds a plan of; if ``batch`` is None, for batches of any size.

    Raises:
        EngineError: see ``build_plans``.
    """
    exported = read_graph(model)
    if batch is None or not options.plugins or precision != "fp16" or not is_generator(exported):
        return graph_without_plugins(model, signature, batch, precision)
    weights = generator_weights_from_graph(exported, signature)
    # Imported on demand: this import makes TensorRT warn.
    from engines.tensorrt.plugins import register_plugins

    register_plugins()
    capability = kernel_capability(here.capability, options.compatibility)
    return graph_with_plugins(weights, signature, batch, capability=capability)


@dataclass(frozen=True)
class PlanJob:
    """The input of one build: a graph, its signature, the plan's batch sizes, and this machine's platform."""

    graph: ModelProto
    signature: Signature
    batches: tuple[int, ...]
    here: Platform


def build_plan(job: PlanJob, options: PlanOptions, report: Report) -> bytes:
    """Parse the graph, check that TensorRT knows every plugin, and build the serialised plan.

    Raises:
        EngineError: TensorRT rejects the graph.
    """
    remedy = "look at TensorRT's messages above; --plugins off avoids the fused kernels"
    build = Build(trt, job.graph, report, remedy=remedy)
    check_plugins(build.network, expected=plugin_nodes(job.graph))
    configure(build.config, options)
    if len(job.batches) > 1:
        build.allow_batches(job.signature, job.batches)
    cache = _timing_cache_file(options, job.here)
    use_timing_cache(build.config, cache)
    plan = build.serialised()
    save_timing_cache(build.config, cache)
    return plan


def check_plugins(network: trt.INetworkDefinition, expected: int) -> None:
    """Raise EngineError unless all plugins are in the network; the parser silently inlines a missing one's function."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    actual = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
    if actual != expected:
        raise EngineError(
            "TensorRT's network",
            got=f"{actual} plugin layers",
            expected=str(expected),
            remedy="build with --plugins off, and report this with TensorRT's version",
        )


def configure(config: trt.IBuilderConfig, options: PlanOptions) -> None:
    """Set the builder configuration from the options."""
    level = options.compatibility.upper()
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[level]


def use_timing_cache(config: trt.IBuilderConfig, file: Path | None) -> None:
    """Load layer times measured before; start without any if there are none or they come from another platform."""
    if file is None:
        return
    known = file.read_bytes() if file.exists() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def save_timing_cache(config: trt.IBuilderConfig, file: Path | None) -> None:
    """Save the measured layer times for the next build."""
    if file is None:
        return
    cache: trt.ITimingCache = config.get_timing_cache()
    with atomic_file(file, force=True) as path:
        path.write_bytes(bytes(cache.serialize()))


def _timing_cache_file(options: PlanOptions, here: Platform) -> Path | None:
    """A file for each TensorRT, GPU and version of the kernels, since the cache does not identify a plugin's kernel."""
    if options.timing_cache is None:
        return None
    kernels = sorted((Path(__file__).parents[1] / "kernels").glob("*.py"))
    key = [here.model_dump_json(), options.compatibility, *(sha256_of(file) for file in kernels)]
    return options.timing_cache / f"{hashlib.sha256(' '.join(key).encode()).hexdigest()[:16]}.cache"
