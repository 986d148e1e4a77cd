"""Triton model configurations, made from signatures through Triton's protobuf: a misspelt field cannot be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelEnsembling,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
    ModelParameter,
    ModelWarmup,
)

from engines.contract.tensors import Signature, TensorSpec
from engines.model_directory import Component
from serving.triton.runtime import Runtime

MAX_BATCH = 8
"""Largest batch of every served model, and so the upper end of a TensorRT optimisation profile."""


def text_from_config(config: ModelConfig) -> str:
    """Return the text of a ``config.pbtxt``."""
    return text_format.MessageToString(config, use_short_repeated_primitives=True)


def engine_config(model: str, component: Component, signature: Signature, runtime: Runtime) -> ModelConfig:
    """Configure an exported model: dynamic batching across requests, one instance, warmed up while it is loaded.

    One instance already uses all cores or the whole GPU; a second one would only share them.

    There is deliberately no queue policy. Any limit of size or time turns off the batcher's prefetching, and wake-ups
    are then lost: on server 2.51 with 4 to 8 clients, up to one request in ten waited 500 ms; without a policy none of
    thousands did (server issue 8870 reports lasting slowness with the same cause). The price is that an overloaded
    server queues requests instead of refusing them, so clients must bound how many requests they have in flight.
    """
    config = _config(model, signature, {})
    if runtime == "tensorrt":
        config.platform = "tensorrt_plan"
        config.default_model_filename = f"{component}.plan"
    elif runtime == "onnxruntime":
        config.backend = "onnxruntime"
        config.default_model_filename = f"{component}.onnx"
    else:
        config.backend = "python"
    config.instance_group.append(_instance(gpu=runtime != "cpu"))
    config.dynamic_batching.SetInParent()
    # On a GPU the first batch of each size includes the choice of algorithms.
    sizes = (1,) if runtime == "cpu" else tuple(range(1, MAX_BATCH + 1))
    config.model_warmup.extend(_warm_up(signature, size) for size in sizes)
    return config


def python_config(model: str, signature: Signature, parameters: Mapping[str, str] | None = None) -> ModelConfig:
    """Configure a model of Triton's python backend that answers request by request, and that reads ``parameters``.

    It has one instance, so that one canary inference proves that no process of the model has died.
    """
    config = _config(model, signature, parameters or {})
    config.backend = "python"
    config.instance_group.append(_instance(gpu=False))
    return config


@dataclass(frozen=True)
class Step:
    """One step of an ensemble; ``renamed`` maps names of the model's tensors to the ensemble's where they differ."""

    model: str
    signature: Signature
    renamed: Mapping[str, str] = field(default_factory=dict)

    def message(self) -> ModelEnsembling.Step:
        """Return the step as Triton's protobuf message."""
        inputs = {spec.name: self.renamed.get(spec.name, spec.name) for spec in self.signature.inputs}
        outputs = {spec.name: self.renamed.get(spec.name, spec.name) for spec in self.signature.outputs}
        return ModelEnsembling.Step(model_name=self.model, model_version=-1, input_map=inputs, output_map=outputs)


def ensemble_config(
    model: str, signature: Signature, steps: Sequence[Step], parameters: Mapping[str, str]
) -> ModelConfig:
    """Configure an ensemble of ``steps``; clients read ``parameters`` through Triton's model configuration call."""
    config = _config(model, signature, parameters)
    config.platform = "ensemble"
    config.ensemble_scheduling.step.extend(step.message() for step in steps)
    return config


def _config(model: str, signature: Signature, parameters: Mapping[str, str]) -> ModelConfig:
    return ModelConfig(
        name=model,
        max_batch_size=MAX_BATCH,
        input=[
            ModelInput(name=s.name, data_type=_data_type(s), dims=s.dims, optional=s.optional) for s in signature.inputs
        ],
        output=[ModelOutput(name=s.name, data_type=_data_type(s), dims=s.dims) for s in signature.outputs],
        parameters={key: ModelParameter(string_value=value) for key, value in parameters.items()},
    )


def _data_type(spec: TensorSpec) -> int:
    return int(DataType.Value(spec.dtype.triton_config))


def _instance(*, gpu: bool) -> ModelInstanceGroup:
    return ModelInstanceGroup(count=1, kind=ModelInstanceGroup.KIND_GPU if gpu else ModelInstanceGroup.KIND_CPU)


def _warm_up(signature: Signature, batch: int) -> ModelWarmup:
    zeros = {
        spec.name: ModelWarmup.Input(data_type=_data_type(spec), dims=spec.dims, zero_data=True)
        for spec in signature.inputs
    }
    return ModelWarmup(name=f"batch of {batch}", batch_size=batch, inputs=zeros)
