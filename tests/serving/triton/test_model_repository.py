"""Generated configurations: the checked-in files are up to date, and the files follow Triton's rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from engines.contract.tensors import Geometry, sample_signature, toonify_jpeg_signature, toonify_signature
from serving.triton.reference_configurations import reference_configs, repository_configs
from serving.triton.repository_spec import RepositorySpec, ServedGenerator, ServedMapping

CHECKED_IN = Path(__file__).parents[3] / "model_repository"

WITH_ISF = Geometry(32, 16, ("age", "smile"), 4)
WITHOUT_ISF = Geometry(32, 16, (), 0)
MAPPING = ServedMapping("a", 16)
GENERATORS = (ServedGenerator("a", {"blend": "--r-swap 8"}, mapping=MAPPING), ServedGenerator("b", {}, mapping=MAPPING))


def configs(geometry: Geometry) -> dict[str, ModelConfig]:
    """Parsed configurations, by path, of a repository with two generators."""
    files = repository_configs(RepositorySpec(geometry, GENERATORS))
    return {path: text_format.Parse(text, ModelConfig()) for path, text in files.items() if path.endswith(".pbtxt")}


both = pytest.mark.parametrize("geometry", [WITH_ISF, WITHOUT_ISF], ids=["isf", "no isf"])


def ensembles(geometry: Geometry) -> list[ModelConfig]:
    return [config for config in configs(geometry).values() if config.platform == "ensemble"]


def test_what_is_checked_in_is_what_the_code_generates() -> None:
    paths = [path for path in CHECKED_IN.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    checked_in = {path.relative_to(CHECKED_IN).as_posix(): path.read_text() for path in paths}
    assert checked_in == reference_configs(), "write it with: python -m serving.triton.reference_configurations"


@both
def test_every_configuration_is_named_like_its_folder_and_has_no_cache(geometry: Geometry) -> None:
    for path, config in configs(geometry).items():
        assert config.name == path.split("/")[0]
        assert not config.response_cache.enable
        assert config.max_batch_size == 8


@both
def test_only_the_models_that_fill_in_defaults_and_the_ensembles_have_optional_inputs(geometry: Geometry) -> None:
    for config in configs(geometry).values():
        takes_controls = config.platform == "ensemble" or config.name.startswith(("condition", "draw_z"))
        required = 0 if config.name.startswith(("draw_z", "sample")) else 1
        controls = {tensor.name for tensor in config.input[required:]} if takes_controls else set()
        assert {tensor.name for tensor in config.input if tensor.optional} == controls


@both
def test_ensembles_have_the_signatures_that_clients_rely_on(geometry: Geometry) -> None:
    for config in ensembles(geometry):
        sampled = config.name.startswith("sample_")
        toonified = toonify_jpeg_signature if config.name.endswith("_jpeg") else toonify_signature
        signature = sample_signature if sampled else toonified
        declared = {(t.name, DataType.Name(t.data_type), (*t.dims,)) for t in (*config.input, *config.output)}
        expected = signature(replace(geometry, z_dim=16))
        assert declared == {(spec.name, spec.dtype.triton_config, spec.dims) for spec in expected}


@both
def test_every_tensor_of_an_ensemble_has_one_source_and_a_use(geometry: Geometry) -> None:
    for config in ensembles(geometry):
        steps = config.ensemble_scheduling.step
        sources = [tensor.name for tensor in config.input] + [name for s in steps for name in s.output_map.values()]
        uses = {name for step in steps for name in step.input_map.values()} | {tensor.name for tensor in config.output}
        assert len(sources) == len(set(sources))
        assert set(sources) == uses


@both
def test_only_the_last_step_gives_an_output(geometry: Geometry) -> None:
    # Triton answers "unexpected deadlock" to a request for only some of several chained outputs.
    for config in ensembles(geometry):
        (output,) = config.output
        assert output.name in config.ensemble_scheduling.step[-1].output_map.values()


@both
def test_exported_models_batch_dynamically_without_a_queue_policy(geometry: Geometry) -> None:
    for path, config in configs(geometry).items():
        assert config.HasField("dynamic_batching") == path.startswith(("encoder", "isf", "generator", "mapping"))
        assert not config.dynamic_batching.HasField("default_queue_policy")


@pytest.mark.parametrize(
    ("runtime", "platform", "backend", "file", "kind"),
    [
        ("config", "tensorrt_plan", "", "generator.plan", "KIND_GPU"),
        ("configs/onnxruntime", "", "onnxruntime", "generator.onnx", "KIND_GPU"),
        ("configs/cpu", "", "python", "", "KIND_CPU"),
    ],
)
def test_one_model_has_a_configuration_for_each_runtime(
    runtime: str, platform: str, backend: str, file: str, kind: str
) -> None:
    config = configs(WITH_ISF)[f"generator_a/{runtime}.pbtxt"]
    assert (config.platform, config.backend, config.default_model_filename) == (platform, backend, file)
    (instances,) = config.instance_group
    assert instances.kind == instances.Kind.Value(kind)
    assert instances.count == 1
    assert config.model_warmup


def test_clients_find_facts_in_the_ensembles() -> None:
    parameters = {
        key: value.string_value for key, value in configs(WITH_ISF)["toonify/config.pbtxt"].parameters.items()
    }
    sizes = {"resolution": "32", "rows": "8", "attributes": "age,smile", "mapping": "mapping_a"}
    assert parameters == {"generator": "a", "blend": "--r-swap 8"} | sizes


def test_each_generator_has_pictures_of_its_own_size() -> None:
    small = ServedGenerator("small", {}, resolution=16)
    files = repository_configs(RepositorySpec(WITH_ISF, (*GENERATORS, small)))
    parsed = {
        name: text_format.Parse(files[f"{name}/config.pbtxt"], ModelConfig()) for name in ("toonify", "toonify_small")
    }
    assert {name: [*config.output[0].dims] for name, config in parsed.items()} == {
        "toonify": [32, 32, 3],
        "toonify_small": [16, 16, 3],
    }
    assert parsed["toonify_small"].parameters["rows"].string_value == "8"


def test_a_live_generator_is_served_with_a_condition_that_knows_its_default_blend() -> None:
    live = ServedGenerator("live", {}, default_blend=(1.0, 1.0, 0.5, 0.0))
    files = repository_configs(RepositorySpec(WITH_ISF, (*GENERATORS, live)))
    parsed = {path: text_format.Parse(text, ModelConfig()) for path, text in files.items() if path.endswith(".pbtxt")}
    takers = {path.split("/")[0] for path, config in parsed.items() if "blend" in {t.name for t in config.input}}
    assert takers == {"generator_live", "condition_live", "toonify_live", "toonify_live_jpeg"}
    for name in ("condition_live", "toonify_live", "toonify_live_jpeg"):
        parameters = parsed[f"{name}/config.pbtxt"].parameters
        assert parameters["default_blend"].string_value == "1.0,1.0,0.5,0.0"
        assert parameters["blend_resolutions"].string_value == "4,8,16,32"
    # ONNX Runtime would render every row of a batch with the blend of the first.
    generators = [config for path, config in parsed.items() if path.startswith("generator_live/")]
    assert [config.backend for config in generators] == ["python"] * 3
    steps = [step.model_name for step in parsed["toonify_live/config.pbtxt"].ensemble_scheduling.step]
    assert steps == ["encoder", "condition_live", "isf", "generator_live"]


def test_a_live_generator_of_several_models_takes_the_share_of_each_and_names_them() -> None:
    duo = ServedGenerator("duo", {}, default_blend=(1.0, 0.0) * 4, transferred=("cartoon", "anime"))
    files = repository_configs(RepositorySpec(WITH_ISF, (duo,)))
    for name in ("toonify_duo", "condition_duo", "generator_duo"):
        config = text_format.Parse(files[f"{name}/config.pbtxt"], ModelConfig())
        assert [[*spec.dims] for spec in config.input if spec.name == "blend"] == [[4, 2]]
    parameters = text_format.Parse(files["toonify_duo/config.pbtxt"], ModelConfig()).parameters
    assert parameters["transferred_models"].string_value == "cartoon,anime"
    assert parameters["default_blend"].string_value == "1.0,0.0,1.0,0.0,1.0,0.0,1.0,0.0"
    assert parameters["blend_resolutions"].string_value == "4,8,16,32"


def test_without_an_isf_there_is_no_isf_model_and_no_control_but_psi() -> None:
    files = configs(WITHOUT_ISF)
    assert not any(path.startswith("isf/") for path in files)
    assert [tensor.name for tensor in files["toonify/config.pbtxt"].input] == ["face", "psi"]


def test_generators_of_one_mapping_network_share_it() -> None:
    models = {path.split("/")[0] for path in configs(WITH_ISF)}
    assert {name for name in models if name.startswith(("sample", "mapping", "draw"))} == {
        "sample_a",
        "sample_b",
        "mapping_a",
        "draw_z_16",
    }


def test_a_generator_without_a_mapping_network_draws_no_faces() -> None:
    files = repository_configs(RepositorySpec(WITH_ISF, (ServedGenerator("a", {}),)))
    assert not any(path.startswith(("sample", "mapping", "draw")) for path in files)
