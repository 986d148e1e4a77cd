"""The example for KServe: checked by KServe's own schemas, compared with the chart and with what the package does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helm import Helm
from kubernetes import VERSIONS, Resource, problems, resources

from serving.triton.reference_configurations import reference_configs
from serving.triton.server import DRAIN_TIMEOUT, START_TIMEOUT
from tests.chart_values import FOLDER

RUNTIME, SERVICE = (FOLDER / "kserve" / name for name in ("runtime.yaml", "inference_service.yaml"))
TEXT = RUNTIME.read_text() + "---\n" + SERVICE.read_text()


@pytest.fixture(scope="module")
def objects() -> dict[str, Resource]:
    return {resource["kind"]: resource for resource in resources(TEXT)}


@pytest.fixture(scope="module")
def container(objects: dict[str, Resource]) -> dict[str, Any]:
    (container,) = objects["ClusterServingRuntime"]["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_is_known(version: str, objects: dict[str, Resource]) -> None:
    assert objects.keys() == {"ClusterServingRuntime", "InferenceService", "PodDisruptionBudget", "PodMonitor"}
    assert [problem for resource in objects.values() for problem in problems(resource, version)] == []


@pytest.mark.parametrize(
    ("word", "other", "place"),
    [
        ("failureThreshold: 90", "failureTreshold: 90", "ClusterServingRuntime toonify-triton: spec.containers.0."),
        ("  maxReplicas: 8", "  maximum: 8", "InferenceService toonify: spec.predictor: "),
        ("minReplicas: 2", "minReplicas: two", "InferenceService toonify: spec.predictor.minReplicas: "),
        ("  - portNumber: 8002", "  - port: 8002", "PodMonitor toonify: spec.podMetricsEndpoints.0.port: "),
        ("maxUnavailable: 1", "maxAbsent: 1", "PodDisruptionBudget toonify: spec: "),
    ],
)
def test_a_mistake_is_found(word: str, other: str, place: str) -> None:
    assert word in TEXT
    found = [problem for resource in resources(TEXT.replace(word, other)) for problem in problems(resource, "1.35")]
    assert any(problem.startswith(place) for problem in found), found


def test_the_command_takes_every_argument(
    container: dict[str, Any], check_serve_arguments: Callable[[list[str]], None]
) -> None:
    check_serve_arguments(container["args"])
    with pytest.raises(Exception, match="No such option: --frobnicate"):
        check_serve_arguments([*container["args"], "--frobnicate"])


def test_the_ports_are_those_that_the_server_is_told(objects: dict[str, Resource], container: dict[str, Any]) -> None:
    told = dict(zip(container["args"], container["args"][1:], strict=False))
    assert told["--repository"] == "/mnt/models", "where KServe puts what storageUri names"
    (port,) = container["ports"]
    assert (port["name"], str(port["containerPort"])) == ("h2c", told["--grpc-port"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert str(container[probe]["httpGet"]["port"]) == told["--http-port"]
    (endpoint,) = objects["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert (
        str(endpoint["portNumber"])
        == objects["ClusterServingRuntime"]["spec"]["annotations"]["prometheus.kserve.io/port"]
    )


def test_the_service_asks_for_the_runtime(objects: dict[str, Resource]) -> None:
    model = objects["InferenceService"]["spec"]["predictor"]["model"]
    runtime = objects["ClusterServingRuntime"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_a_server_has_time_to_start_and_to_leave(objects: dict[str, Resource], container: dict[str, Any]) -> None:
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 15 * 60 > START_TIMEOUT
    predictor = objects["InferenceService"]["spec"]["predictor"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert predictor["terminationGracePeriodSeconds"] > pause + DRAIN_TIMEOUT + 5
    assert predictor["deploymentStrategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_container_and_volumes_are_the_charts(
    container: dict[str, Any], objects: dict[str, Resource], helm: Helm
) -> None:
    (deployment,) = [each for each in helm.template("models.claim=toonify-models") if each["kind"] == "Deployment"]
    (charts,) = deployment["spec"]["template"]["spec"]["containers"]
    for field in ("resources", "lifecycle", "env", "image"):
        assert container[field] == charts[field]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path, charts_path = container[probe]["httpGet"]["path"], charts[probe]["httpGet"]["path"]
        assert {**container[probe], "httpGet": path} == {**charts[probe], "httpGet": charts_path}
    assert charts["securityContext"].items() <= container["securityContext"].items()
    assert container["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = objects["ClusterServingRuntime"]["spec"]["volumes"]
    assert volumes == [each for each in deployment["spec"]["template"]["spec"]["volumes"] if each["name"] != "models"]


def test_why_kserves_own_runtime_cannot_serve_a_repository() -> None:
    """As the page says: python models import this package, and without --model-config-name plans are asked for."""
    models = sorted((Path(__file__).parents[3] / "model_repository").glob("*/1/model.py"))
    assert models
    assert all("from serving." in model.read_text() for model in models)
    configurations = reference_configs()
    assert 'platform: "tensorrt_plan"' in configurations["encoder/config.pbtxt"]
    assert "encoder/configs/cpu.pbtxt" in configurations
