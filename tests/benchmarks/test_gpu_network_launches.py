"""The count of what encoder and ISF head launch on a GPU."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.generated import KERNELS_README, with_section
from benchmarks.gpu.launch_costs import SMALL_LAUNCH, excitation_launch
from benchmarks.gpu.network_launches import RECORDED, NetworkRow, launches_of, rows_of, table, with_others
from benchmarks.networks import TINY, encoder_weights, isf_weights
from benchmarks.records import read_records
from engines.contract.tensors import DType, Signature, TensorSpec, encoder_signature, isf_signature
from engines.kernels.excitation import excitation_spec
from export.graphs.encoder import onnx_from_encoder
from export.graphs.isf import onnx_from_isf
from export.networks.encoder import encoder_from_weights
from export.networks.isf import isf_from_weights


def convolution() -> tuple[onnx.ModelProto, Signature]:
    """A 3x3 convolution of 64 channels to 256 on maps of 32x32, and a ReLU."""
    weight = numpy_helper.from_array(np.zeros((256, 64, 3, 3), np.float32), "weight")
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["sum"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64, 32, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 256, 32, 32])
    graph = helper.make_graph(nodes, "network", [x], [y], [weight])
    specs = (TensorSpec("x", DType.FLOAT32, (64, 32, 32)),), (TensorSpec("y", DType.FLOAT32, (256, 32, 32)),)
    return helper.make_model(graph), Signature(*specs)


def test_a_convolution_is_counted_by_its_tiles() -> None:
    launches = launches_of(*convolution())[1]
    product = next(launch for launch in launches if launch.kernel == "convolution")
    assert product.blocks == 32 * 32 // 128 * 256 // 128
    assert product.operations == 2 * 9 * 64 * 256 * 32 * 32
    assert product.floor == 2 * (64 * 32 * 32 + 256 * 64 * 9 + 256 * 32 * 32)


def test_each_operator_is_a_launch() -> None:
    assert [launch.kernel for launch in launches_of(*convolution())[1]] == ["_to_copy", "convolution", "relu"]


def test_an_operator_without_products_reads_and_writes_its_maps() -> None:
    relu = launches_of(*convolution())[8][-1]
    assert relu.kernel == "relu"
    assert relu.floor == 8 * 2 * 2 * 256 * 32 * 32
    assert relu.operations == 0


def test_views_launch_nothing() -> None:
    signature = encoder_signature(TINY.geometry)
    encoder = onnx_from_encoder(encoder_from_weights(encoder_weights(TINY)), signature)
    names = {launch.kernel for launch in launches_of(encoder, signature)[1]}
    assert {"convolution", "add", "excitation"} <= names
    assert {"permute", "view", "empty", "slice", "unsqueeze"}.isdisjoint(names)


def test_the_kernel_of_a_residual_unit_is_a_launch_whose_blocks_read_all_weights() -> None:
    launch = excitation_launch(excitation_spec(256, 16, 32, 32), 2)
    weights, means, maps = 2 * 2 * 256 * 16, 2 * 256, 3 * 2 * 256 * 32 * 32
    assert (launch.kernel, launch.size, launch.blocks) == ("excitation", 32, 2 * 32 * 32 * 256 // 4096)
    assert launch.floor == 2 * (maps + means) + weights
    assert launch.emitted == 2 * maps + launch.blocks * (means + weights)


def test_no_launch_is_shorter_than_the_smallest() -> None:
    signature = isf_signature(TINY.geometry)
    for launches in launches_of(onnx_from_isf(isf_from_weights(isf_weights(TINY)), signature), signature).values():
        assert min(launch.seconds for launch in launches) >= SMALL_LAUNCH


def test_rows_sum_the_launches_and_small_ones_are_others() -> None:
    launches = launches_of(*convolution())[1]
    rows = [*rows_of("network", 1, launches)]
    assert sum(row.microseconds for row in rows) == pytest.approx(1e6 * sum(n.seconds for n in launches), abs=0.1)
    large, small = NetworkRow("n", 1, "a", "L2", 1, 990.0), NetworkRow("n", 1, "b", "launch", 4, 8.8)
    assert with_others([large, small]) == [large, NetworkRow("n", 1, "others", "", 4, 8.8)]
    assert with_others([large]) == [large]


def test_the_table_is_current() -> None:
    text = KERNELS_README.read_text()
    rows = read_records(RECORDED, NetworkRow)
    assert with_section(text, "benchmarks.gpu.network_launches", table(rows)) == text
