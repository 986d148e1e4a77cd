"""ONNX files with changed graphs and weights: each is run, or refused in one sentence, without a wrong access.

An input is one letter for the component, "g", "l" (a live generator) or "e", and the file. Compiled kernels are the
sanitised ones; the other engines get every fourth input. Engines run in processes of their own, which report a wrong
access by their end.
"""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import model_runner
import numpy as np
import onnx
import sanitised_kernels
from fuzzer import Check, Fuzzer
from generators import random_generator, random_sibling
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx_encoders import ROWS, W_DIM, small_encoder

from engines.contract.arrays import AnyArray
from engines.contract.tensors import Geometry, generator_signature
from export.graphs.generator import onnx_from_generator
from export.graphs.live_generator import onnx_from_live_generator
from export.networks.generator import generator_from_weights

GEOMETRIES = {
    "g": Geometry(32, 16),
    "l": Geometry(32, 16, transferred=1),
    "e": Geometry(32, W_DIM, rows=ROWS),
}
LIBRARIES = ("onnxruntime", "openvino", "torch")
SECONDS = 120
"""For one model in one engine, far above what any takes: a hang is a failure."""

SIZES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 32, 33, 64, 255)


@functools.cache
def originals() -> dict[str, bytes]:
    """A small valid file of each component, whose layers have odd widths."""
    weights = random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5}, conv_clamp=0.7)
    generator, sibling = (generator_from_weights(one) for one in (weights, random_sibling(weights)))
    models = {
        "g": onnx_from_generator(generator, generator_signature(GEOMETRIES["g"])),
        "l": onnx_from_live_generator([generator, sibling], generator_signature(GEOMETRIES["l"])),
        "e": small_encoder(),
    }
    return {letter: model.SerializeToString() for letter, model in models.items()}


def make(source: random.Random) -> bytes:
    """A generator, live or not, or an encoder, with up to three changes."""
    letter = source.choice("gle")
    if source.random() < 0.05:
        return letter.encode() + _with_changed_bytes(originals()[letter], source)
    model = ModelProto.FromString(originals()[letter])
    for _ in range(source.randint(1, 3)):
        source.choice(CHANGES)(model, source)
    return letter.encode() + model.SerializeToString()


def _with_changed_bytes(content: bytes, source: random.Random) -> bytes:
    changed = bytearray(content[: source.randint(1, len(content))] if source.random() < 0.3 else content)
    for _ in range(source.randint(1, 6)):
        changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed)


# ---- Changes of constants.


def _constant(model: ModelProto, source: random.Random) -> TensorProto:
    return source.choice(model.graph.initializer) if model.graph.initializer else model.graph.initializer.add()


def _replace(tensor: TensorProto, array: AnyArray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _array(tensor: TensorProto) -> AnyArray:
    try:
        return numpy_helper.to_array(tensor)
    except Exception:  # an earlier change has left it unreadable
        return np.zeros((3, 3), np.float32)


def _resize_axis(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    array = _array(tensor)
    if array.ndim:
        axis, size = source.randrange(array.ndim), source.choice(SIZES)
        _replace(tensor, array.take(np.arange(size) % max(array.shape[axis], 1), axis, mode="clip"))


def _reshape(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    array = _array(tensor)
    shapes = [array.T, array.reshape(-1), array[None], array.reshape(*array.shape, 1), np.float32(1), array.squeeze()]
    _replace(tensor, np.asarray(source.choice(shapes)))


def _lie_about_dims(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    size = source.choice((-1, 0, 1, 7, 2**20, 2**31, 2**32, 2**40, 2**62, -(2**63)))
    if tensor.dims and source.random() < 0.7:
        tensor.dims[source.randrange(len(tensor.dims))] = size
    else:
        tensor.dims.extend([size] * source.choice((1, 1, 2, 100)))


def _change_type(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    if source.random() < 0.3:
        tensor.data_type = source.randrange(-1, 30)
    else:
        with np.errstate(all="ignore"):
            _replace(tensor, _array(tensor).astype(source.choice(("f2", "f4", "f8", "i4", "i8", "u1", "?"))))


def _change_values(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    array = _array(tensor).copy()
    if array.dtype.kind == "f":
        value = source.choice((np.nan, np.inf, -np.inf, 1e30, -1e30, 0, -1, 1e-40))
        array[...] = np.where(np.random.default_rng(source.randrange(99)).random(array.shape) < 0.5, value, array)
    elif array.dtype.kind == "i":
        array[...] = source.choice((-(2**31), -1, 0, 1, 7, 8, 99, 2**31 - 1))
    _replace(tensor, array)


def _store_outside(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = ("../x", "/dev/zero", "model.onnx", "", "a\0b", "x" * 5000, "weights.bin", ".")
    offsets = ("-8", "0", "9" * 30, "2", "x", "", "4611686018427387904", "²")
    for key, value in (("location", source.choice(places)), ("offset", source.choice(offsets)), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _rename_constant(model: ModelProto, source: random.Random) -> None:
    _constant(model, source).name = source.choice((_constant(model, source).name, "", "w", "face", "x" * 5000))


def _drop_or_repeat_constant(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    if source.random() < 0.5:
        model.graph.initializer.remove(tensor)
    else:
        model.graph.initializer.add().CopyFrom(tensor)


def _make_sparse(model: ModelProto, source: random.Random) -> None:
    tensor = _constant(model, source)
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor)
    sparse.dims.extend(tensor.dims)
    model.graph.initializer.remove(tensor)


def _make_segment(model: ModelProto, source: random.Random) -> None:
    segment = _constant(model, source).segment
    segment.begin, segment.end = source.choice(((0, 1), (-5, 2**40)))


# ---- Changes of nodes.


def _node(model: ModelProto, source: random.Random) -> NodeProto:
    return source.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _name(model: ModelProto, source: random.Random) -> str:
    node = _node(model, source)
    names = [*node.output, *node.input, _constant(model, source).name, "", "unknown"]
    return source.choice(names)


def _rewire(model: ModelProto, source: random.Random) -> None:
    node = _node(model, source)
    names = node.input if source.random() < 0.8 else node.output
    if names:
        names[source.randrange(len(names))] = _name(model, source)


def _change_inputs(model: ModelProto, source: random.Random) -> None:
    node = _node(model, source)
    if node.input and source.random() < 0.6:
        del node.input[source.randrange(len(node.input))]
    else:
        node.input.append(_name(model, source))


def _drop_repeat_or_move_node(model: ModelProto, source: random.Random) -> None:
    nodes, node = model.graph.node, _node(model, source)
    copy = NodeProto.FromString(node.SerializeToString())
    kind = source.randrange(3)
    if kind != 1 and node in nodes:
        nodes.remove(node)
    if kind != 0:
        nodes.insert(source.randint(0, len(nodes)), copy)


def _rename_operator(model: ModelProto, source: random.Random) -> None:
    node = _node(model, source)
    if source.random() < 0.8:
        node.op_type = source.choice((_node(model, source).op_type, "Constant", "Identity", "If", ""))
    else:
        node.domain = source.choice(("", "evil", "toonify", "ai.onnx"))


def _change_attribute(model: ModelProto, source: random.Random) -> None:
    node = source.choice([node for node in model.graph.node if node.attribute] or [_node(model, source)])
    name = source.choice([attribute.name for attribute in node.attribute] or ["clamp"])
    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    graph = onnx.GraphProto(name="inner")
    values = (
        None,
        0,
        1,
        2,
        -1,
        2**40,
        0.5,
        float("nan"),
        -1.0,
        1e30,
        "text",
        b"\xff",
        [1, 1],
        [2, 2],
        [2, 1],
        [],
        graph,
    )
    value = source.choice(values)
    if value is not None:
        kind = onnx.AttributeProto.INTS if value == [] else None
        node.attribute.append(onnx.helper.make_attribute(name, value, attr_type=kind))


# ---- Changes of the rest.


def _change_function(model: ModelProto, source: random.Random) -> None:
    if not model.functions:
        model.functions.add().name = "ModulatedConv2d"
        return
    function = source.choice(model.functions)
    kind = source.randrange(3)
    if kind == 0:
        model.functions.remove(function)
    elif kind == 1:
        model.functions.add().CopyFrom(function)
    elif function.node:
        function.node.remove(source.choice(function.node))


def _change_interface(model: ModelProto, source: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value = source.choice(values)
    if source.random() < 0.5:
        value.type.tensor_type.elem_type = source.choice((1, 2, 7, 10))
    elif value.type.tensor_type.shape.dim:
        source.choice(value.type.tensor_type.shape.dim).dim_value = source.choice(SIZES)


def _change_header(model: ModelProto, source: random.Random) -> None:
    kind = source.randrange(3)
    if kind == 0:
        model.ir_version = source.choice((0, 3, 99, 2**40))
    elif kind == 1:
        del model.opset_import[:]
    else:
        model.graph.ClearField(source.choice(("node", "initializer", "input", "output")))


Change = Callable[[ModelProto, random.Random], None]
CHANGES: tuple[Change, ...] = (
    *(_resize_axis,) * 8,
    *(_reshape, _lie_about_dims, _change_type, _change_values) * 3,
    *(_store_outside, _rename_constant, _drop_or_repeat_constant, _make_sparse, _make_segment),
    *(_rewire, _change_inputs, _drop_repeat_or_move_node, _rename_operator, _change_attribute) * 3,
    *(_change_function, _change_interface, _change_header),
)


# ---- The check.


class Runner:
    """A process of ``model_runner.py``, started anew after it has ended."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str] | None, log: Path) -> None:
        self.name, self._arguments, self._environment, self._log = name, arguments, environment, log
        self._process: subprocess.Popen[str] | None = None

    def answer(self, line: str) -> str:
        """Give one line and return the answer; empty if the process ended or was ended after ``SECONDS``."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except BrokenPipeError:
            return ""
        finally:
            timer.cancel()

    def report(self) -> str:
        """What the process wrote to its log; it is then over."""
        self.close()
        return self._log.read_text(errors="replace")[:6000]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-B", model_runner.__file__, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                cwd=Path(__file__).parents[2],
                text=True,
            )


@contextmanager
def checking(folder: Path) -> Iterator[Check]:
    """The check writes its input into ``folder`` and gives it to a process of each engine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    kernels = sanitised_kernels.sanitised_kernels()
    environment = sanitised_kernels.sanitised_environment()
    sanitised = [
        Runner(name, ["winograd", str(kernels), name], environment, folder / f"{name}.log")
        for name in sanitised_kernels.sanitised_sets()
    ]
    libraries = [Runner(name, [name], None, folder / f"{name}.log") for name in LIBRARIES]

    def check(content: bytes) -> None:
        path.write_bytes(content[1:])
        letter = content[:1].decode()
        geometry = GEOMETRIES[letter]
        line = json.dumps([str(path), letter, geometry.resolution, geometry.rows, geometry.w_dim])
        for runner in sanitised + (libraries if zlib.crc32(content) % 4 == 0 else []):
            answer = runner.answer(line).strip()
            assert answer, f"{runner.name} ended: {runner.report()}"
            assert not answer.startswith("failed"), f"{runner.name}: {answer.replace(' | ', chr(10))}"
            assert len(answer) < 2000, f"{runner.name}: a sentence of {len(answer)} characters"

    with ExitStack() as runners:
        for runner in sanitised + libraries:
            runners.callback(runner.close)
        yield check


FUZZER = Fuzzer("onnx", make, checking, short=30)
