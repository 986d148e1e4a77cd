"""How all engines treat their files, inputs and outputs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from generators import random_generator
from onnx import numpy_helper

import engines
from engines import engine_from_onnx, loading
from engines.contract.errors import EngineError
from engines.contract.tensors import DType, Geometry, Signature, TensorSpec, generator_signature
from engines.loading import EngineName
from engines.model_directory import Precision
from engines.onnxruntime import cuda as onnxruntime_cuda
from engines.onnxruntime.cuda import OnnxRuntimeCudaEngine
from engines.openvino.engine import OpenVinoEngine
from export.graphs.generator import onnx_from_generator
from export.networks.generator import generator_from_weights

ENGINES = ("onnxruntime", "openvino")
SIGNALLED = """
import pickle, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from engines import engine_from_onnx
model, signature, engine = Path(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2])), sys.argv[3]
first, second = (engine_from_onnx(model, signature, engine) for _ in range(2))
first.close()
with ThreadPoolExecutor() as threads:
    third = threads.submit(engine_from_onnx, model, signature, engine).result()
    threads.submit(second.close).result()
del first, second
third.close()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
SIGNATURE = Signature(
    (TensorSpec("a", DType.FLOAT32, (4,)), TensorSpec("b", DType.FLOAT32, (4,))),
    (TensorSpec("sum", DType.FLOAT32, (4,)),),
)
A = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sum = a + b + weight, the weight in a file beside the graph."""
    proto = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["": 18]>
        sum (float[N, 4] a, float[N, 4] b) => (float[N, 4] sum) { both = Add (a, b)  sum = Add (both, weight) }
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.full(4, 0.5, np.float32), "weight"))
    path = tmp_path_factory.mktemp("model") / "sum.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="sum.onnx.data", size_threshold=0)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_beside_the_graph_are_read_even_if_they_are_hard_links(
    model: Path, tmp_path: Path, engine: EngineName
) -> None:
    # A Triton repository hard-links the files of a model directory.
    for path in model.parent.iterdir():
        os.link(path, tmp_path / path.name)
    with engine_from_onnx(tmp_path / model.name, SIGNATURE, engine) as loaded:
        assert np.array_equal(loaded.run({"a": A, "b": A})["sum"], 2 * A + 0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_belong_to_the_caller(model: Path, engine: EngineName) -> None:
    with engine_from_onnx(model, SIGNATURE, engine) as loaded:
        first = loaded.run({"a": A, "b": A})["sum"]
        kept = first.copy()
        loaded.run({"a": -A, "b": A})
        assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"a": A}, r"got the tensors \['a'\], expected \['a', 'b'\]"),
        ({"a": A, "b": A, "c": A}, r"got the tensors \['a', 'b', 'c'\]"),
        ({"a": A, "b": A.astype(np.float64)}, r"input 'b': got float64 \[2, 4\], expected b float32 \[N,4\]"),
        ({"a": A, "b": A[:, :3]}, r"input 'b': got float32 \[2, 3\]"),
        ({"a": A, "b": A[:1]}, "with one N of at least 1 for all tensors"),
        ({"a": A[:0], "b": A[:0]}, "with one N of at least 1 for all tensors"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(model: Path, inputs: dict[str, np.ndarray], sentence: str) -> None:
    with (
        engine_from_onnx(model, SIGNATURE, "onnxruntime") as loaded,
        pytest.raises(EngineError, match=sentence),
    ):
        loaded.run(inputs)


def test_inputs_need_not_be_contiguous(model: Path) -> None:
    with engine_from_onnx(model, SIGNATURE, "openvino") as loaded:
        turned = np.asfortranarray(A)
        assert np.array_equal(loaded.run({"a": turned, "b": turned})["sum"], 2 * A + 0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_signals_are_handled_after_engines_were_closed_in_any_order_and_on_any_thread(
    model: Path, engine: EngineName
) -> None:
    arguments = [sys.executable, "-c", SIGNALLED, str(model), pickle.dumps(SIGNATURE).hex(), engine]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled\n", "")


def test_openvino_has_one_core_in_a_process() -> None:
    root, packages = Path(engines.__file__).parents[1], ("engines", "serving", "export", "benchmarks")
    modules = [path for package in packages for path in (root / package).rglob("*.py")]
    assert [path.name for path in modules if "openvino.Core()" in path.read_text()] == ["core.py"]


def test_onnx_runtime_leaves_the_cores_alone_after_a_run(model: Path) -> None:
    large = np.zeros((1 << 20, 4), np.float32)  # large enough for several threads
    with engine_from_onnx(model, SIGNATURE, "onnxruntime", threads=2) as loaded:
        loaded.run({"a": large, "b": large})
        before = time.process_time()
        time.sleep(0.1)
        # This process's processor time, which would be 40 ms with spinning threads.
        assert time.process_time() - before < 0.01


def test_openvino_folds_no_constant_to_a_maps_size(tmp_path: Path) -> None:
    channels = {4: 12, 8: 10, 16: 7}
    generator = generator_from_weights(random_generator(16, channels))
    signature = generator_signature(Geometry(16, 16))
    onnx.save(onnx_from_generator(generator, signature), tmp_path / "generator.onnx")
    with OpenVinoEngine(tmp_path / "generator.onnx", signature) as engine:
        nodes = engine._compiled.get_runtime_model().get_ops()
    constants = {tuple(node.shape) for node in nodes if str(node.rt_info["layerType"].value) == "Const"}
    assert (1, 1, 16, 16) in constants  # the noise
    assert constants.isdisjoint((1, count, size, size) for size, count in channels.items() if size > 4)


def test_a_cached_model_gives_the_same_results_and_a_damaged_one_is_compiled_again(model: Path, tmp_path: Path) -> None:
    def answer() -> np.ndarray:
        with engine_from_onnx(model, SIGNATURE, "openvino", cache=tmp_path / "cache") as loaded:
            return loaded.run({"a": A, "b": A})["sum"]

    assert np.array_equal(answer(), 2 * A + 0.5)
    (blob,) = (tmp_path / "cache").iterdir()
    whole = blob.read_bytes()
    assert np.array_equal(answer(), 2 * A + 0.5)
    blob.write_bytes(whole[: len(whole) // 2])
    assert np.array_equal(answer(), 2 * A + 0.5)
    assert blob.stat().st_size >= len(whole)


def test_a_cache_that_cannot_be_written_is_ignored(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with engine_from_onnx(model, SIGNATURE, "openvino", cache=tmp_path / "cache") as loaded:
        assert np.array_equal(loaded.run({"a": A, "b": A})["sum"], 2 * A + 0.5)


def test_an_engine_that_is_not_installed_is_named_with_the_remedy(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "is_installed", lambda engine: False)
    with pytest.raises(EngineError, match=r"engine openvino: got no such library.*pip install 'toonify-serve\[cpu\]'"):
        engine_from_onnx(model, SIGNATURE, "openvino")


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_onnx_runtimes_buffers_take_batches_of_any_size(model: Path, batch: int) -> None:
    a = np.arange(4 * batch, dtype=np.float32).reshape(batch, 4)
    with OnnxRuntimeCudaEngine(model, SIGNATURE, device="cpu", batches=(1, 4)) as loaded:
        first = loaded.run({"a": a, "b": a})["sum"]
        loaded.run({"a": -a, "b": a})
        assert np.array_equal(first, 2 * a + 0.5)


@pytest.mark.parametrize(("precision", "provider"), [("fp32", "CUDA"), ("fp16", "Tensorrt")])
def test_an_onnx_runtime_that_falls_back_to_the_cpu_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision, provider: str
) -> None:
    # ONNX Runtime for GPUs does the same if a CUDA library is missing: it logs a warning and continues.
    monkeypatch.setattr(onnxruntime_cuda, "providers_for", lambda precision, cache: ["CPUExecutionProvider"])
    with pytest.raises(
        EngineError, match=f"in {precision}: got CPUExecutionProvider, expected {provider}ExecutionProvider; .*-gpu"
    ):
        OnnxRuntimeCudaEngine(model, SIGNATURE, precision=precision)


def test_the_tensorrt_provider_keeps_its_engines_if_there_is_a_cache(tmp_path: Path) -> None:
    (first, options), (second, _) = onnxruntime_cuda.providers_for("fp16", tmp_path)
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert not any("cache" in name for name in onnxruntime_cuda.providers_for("fp16")[0][1])


def test_a_precision_that_the_engine_lacks_is_refused(model: Path) -> None:
    with pytest.raises(EngineError, match="engine onnxruntime: got precision bf16, expected fp32"):
        engine_from_onnx(model, SIGNATURE, "onnxruntime", "bf16")
