"""OpenVINO on a CPU, float32 or bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.inliner
import openvino
from openvino import opset13 as opset

from engines.contract.arrays import AnyArray
from engines.contract.tensors import BLEND, Signature
from engines.engine import BaseEngine, EngineOptions
from engines.graph.onnx_graph import parse_model
from engines.library_errors import check_model_tensors, library_errors
from engines.model_directory import Precision
from engines.openvino.core import shared_core

_HINT = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


class OpenVinoEngine(BaseEngine):
    """Runs an ONNX file; its model-local functions are inlined first, since OpenVINO does not support them.

    A generator runs one sample at a time in a graph of batch 1: with a dynamic batch, OpenVINO does not fuse the
    operations between convolutions and converts the memory layout around them, and a batch is no faster per picture.
    """

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        cache: Path | None = None,
        opened: Path | None = None,
    ) -> None:
        """Load ``model``, or the same file from where it was ``opened``; ``threads`` 0 uses every core.

        OpenVINO keeps compiled models in ``cache``, under a hash of model, properties, processor and version.

        Raises:
            EngineError: OpenVINO refuses the model, or its inputs or outputs differ from the signature.
        """
        super().__init__(signature)
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINT[precision]}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        if cache:
            properties["CACHE_DIR"] = str(cache)
        with _errors(model.name):
            graph, self._per_sample = _read_model(model, opened)
            self._compiled = shared_core().compile_model(graph, "CPU", properties)
            self._request = self._compiled.create_infer_request()
            inputs, outputs = (_tensors(ports, signature) for ports in (self._compiled.inputs, self._compiled.outputs))
        check_model_tensors(model.name, signature, inputs, outputs)
        self._name = model.name

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        with _errors(self._name):
            if not self._per_sample:
                return self._infer(inputs)
            batch = len(next(iter(inputs.values())))
            samples = [self._infer({name: value[k : k + 1] for name, value in inputs.items()}) for k in range(batch)]
        if batch == 1:
            return samples[0]
        return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}

    def _infer(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        # share_outputs=False: the request's own buffers are overwritten by the next call.
        results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        return {spec.name: results[spec.name] for spec in self.signature.outputs}


def _errors(model: str) -> AbstractContextManager[None]:
    return library_errors("OpenVINO", model, remedy="use --engine onnxruntime, or export the model again")


def _tensors(values: Sequence[Any], signature: Signature) -> list[tuple[str, str, Sequence[object]]]:
    """Name, type and shape of inputs or outputs.

    OpenVINO gives a tensor several names where it has moved an operation, such as a Sigmoid before a Reshape.
    """
    known = {spec.name for spec in signature}
    names = [min(value.names & known, default=value.any_name) for value in values]
    return [
        (name, value.element_type.to_dtype().name, _shape(value.partial_shape))
        for name, value in zip(names, values, strict=True)
    ]


def _shape(shape: openvino.PartialShape) -> list[object]:
    return [size.get_length() if size.is_static else str(size) for size in shape]


def _read_model(path: Path, opened: Path | None) -> tuple[openvino.Model, bool]:
    """The graph, and whether its batch is fixed at 1, which it is for a generator, the only model with functions."""
    model = parse_model(path, opened)
    _check_nodes(model)
    # OpenVINO reads external weights itself: onnx refuses hard-linked files, which a Triton repository has.
    if not model.functions:
        return shared_core().read_model(opened or path), False
    onnx.load_external_data_for_model(model, str(path.parent))
    graph = shared_core().read_model(_inlined(model).SerializeToString())
    graph.reshape({value.any_name: [1, *list(value.partial_shape)[1:]] for value in graph.inputs})
    if not any(value.any_name == BLEND for value in graph.inputs):  # a live generator's biases are no constants
        _prevent_noise_bias_folding(graph)
    return graph, True


def _check_nodes(model: onnx.ModelProto) -> None:
    """Let ONNX's checker look at the nodes: one with too few inputs ends OpenVINO's process, a circle its memory.

    The weights become inputs, since the checker would copy them, and refuses external ones in hard-linked files.
    """
    known = {value.name for value in model.graph.input}
    weights = [
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.name not in known
    ]
    graph = onnx.helper.make_graph(
        model.graph.node, model.graph.name, [*model.graph.input, *weights], model.graph.output
    )
    onnx.checker.check_model(
        onnx.helper.make_model(
            graph, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
        )
    )


def _prevent_noise_bias_folding(graph: openvino.Model) -> None:
    """Make every bias depend on an input by adding psi - psi, which is zero.

    OpenVINO otherwise folds noise [1, 1, H, W] and bias [1, C, 1, 1], which are added in succession, into constants of
    the feature maps' full size, 1 GB in total at 1024x1024.
    """
    psi = graph.input("psi")
    zero = opset.reshape(opset.subtract(psi, psi), np.array([1, 1, 1, 1]), special_zero=False)
    for node in graph.get_ops():
        if _is_add(node) and _is_add(node.input_value(0).get_node()):
            bias = node.input_value(1)
            node.input(1).replace_source_output(opset.add(bias, zero).output(0))


def _is_add(node: openvino.Node) -> bool:
    return bool(node.get_type_name() == "Add")


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its functions inlined. The inliner gets the weights without values, which it would copy twice."""
    weights = {tensor.name: tensor.raw_data for tensor in model.graph.initializer if tensor.HasField("raw_data")}
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    inlined = onnx.inliner.inline_local_functions(model)
    for tensor in inlined.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name]
    return inlined


def supports_bf16() -> bool:
    """Whether this processor has bfloat16 arithmetic; without it OpenVINO silently computes in float32."""
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def available_precisions() -> tuple[Precision, ...]:
    """See ``EngineModule``."""
    return ("fp32", "bf16") if supports_bf16() else ("fp32",)


def open_engine(model: Path, signature: Signature, options: EngineOptions) -> OpenVinoEngine:
    """See ``EngineModule``."""
    return OpenVinoEngine(
        model,
        signature,
        precision=options.precision,
        threads=options.threads,
        cache=options.cache,
        opened=options.opened,
    )
