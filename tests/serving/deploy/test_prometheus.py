"""Prometheus' rules and Grafana's dashboard: by promtool, and with the metrics of the real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import yaml
from helm import CHART, Helm
from triton_requests import TIMEOUT, refusal, send
from tritonclient.grpc import InferenceServerClient

from serving import ToonifyClient
from serving.deploy.limits import REQUESTS_A_SERVER
from serving.faces.jpeg import jpeg_from_picture
from serving.triton.canary import Canary
from serving.triton.reference_configurations import reference_configs
from serving.triton.server import TritonServer
from tests.chart_values import FOLDER, README

RULES = CHART / "files/rules.yaml"
UNIT_TESTS = Path(__file__).with_name("rules_test.yaml")
PAGE = README.read_text()
PAGE_OF_SERVER = (FOLDER.parents[1] / "triton/README.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
RECORDED = [rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule]
ALERTS = {rule["alert"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "alert" in rule}
NAMES_OF_RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}

FACE = np.zeros((1, 256, 256, 3), np.uint8)


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


def run(*command: object, folder: Path | None = None) -> str:
    """What promtool says; a refusal raises."""
    done = subprocess.run([str(each) for each in command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout


# The rules


def test_promtool_takes_the_rules(promtool: str) -> None:
    assert f"SUCCESS: {len(RECORDED) + len(ALERTS)} rules found" in run(promtool, "check", "rules", RULES)


def test_rules_record_and_tell_what_they_should(promtool: str) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", UNIT_TESTS)


@pytest.fixture
def with_mistake(tmp_path: Path) -> Any:
    """A function that changes the rules, and returns them with their tests in a folder."""

    def change(word: str, other: str) -> tuple[Path, Path]:
        text = RULES.read_text()
        assert word in text
        rules, tests = tmp_path / "rules.yaml", tmp_path / "rules_test.yaml"
        rules.write_text(text.replace(word, other))
        tests.write_text(re.sub(r"- \S+/rules\.yaml", f"- {rules}", UNIT_TESTS.read_text()))
        return rules, tests

    return change


def test_promtool_finds_what_is_no_expression(promtool: str, with_mistake: Any) -> None:
    rules, _ = with_mistake("> 0.05", "> 0.05)")
    with pytest.raises(AssertionError, match="could not parse expression"):
        run(promtool, "check", "rules", rules)


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("ratio_rate5m > 0.05", "ratio_rate5m > 0.5"),
        (") / 2\n", ")\n"),
        ('_duration_us{model!~"(toonify|sample)(_.*)?|encode"}', "_duration_us"),
        ("_duration_us{model!~", "_duration_us{model=~"),
        ('model=~"condition.*"', 'model="encoder"'),
        ("/\n          count by", "/\n          group by"),
        ('model=~"generator_.*"', 'model=~"(toonify|sample)(_.*)?"'),
        ("            instance:toonify_canary:rate5m,", "            0 * instance:toonify_canary:rate5m,"),
        ("            0\n", "            -9\n"),
        ("rate1m > 8", "rate1m > 80"),
        (") == 0", ") == 1"),
        (") >= 3", ") >= 4"),
        ("expr: absent(", "expr: count("),
        ("max by (namespace, model)", "min by (namespace, model)"),
    ],
)
def test_the_tests_of_rules_find_a_wrong_one(word: str, other: str, promtool: str, with_mistake: Any) -> None:
    rules, tests = with_mistake(word, other)
    run(promtool, "check", "rules", rules)
    with pytest.raises(AssertionError, match="FAILED"):
        run(promtool, "test", "rules", tests)


@pytest.mark.parametrize("place", range(RULES.read_text().count('|encode"')))
def test_the_tests_of_rules_find_each_place_that_takes_encode_for_a_step(
    place: int, promtool: str, with_mistake: Any
) -> None:
    before = RULES.read_text().split('|encode"')[place]
    rules, tests = with_mistake(before + '|encode"', before + '"')
    run(promtool, "check", "rules", rules)
    with pytest.raises(AssertionError, match="FAILED"):
        run(promtool, "test", "rules", tests)


def test_each_alert_is_tested_and_described() -> None:
    tested = {
        test["alertname"]
        for group in yaml.safe_load(UNIT_TESTS.read_text())["tests"]
        for test in group.get("alert_rule_test", [])
        if test.get("exp_alerts")
    }
    assert tested == ALERTS.keys() == set(re.findall(r"^\| `(Toonify\w+)` \|", PAGE, re.MULTILINE))
    assert len(ALERTS) == 5


def test_overload_is_what_an_edge_would_refuse() -> None:
    assert ALERTS["ToonifyOverload"].endswith(f"> {REQUESTS_A_SERVER}")


def test_alerts_ask_for_nothing_that_is_not_recorded() -> None:
    named = {name for expression in ALERTS.values() for name in re.findall(r"\w+:\w+:\w+", expression)}
    assert named <= NAMES_OF_RECORDED


# The dashboard


def targets() -> Iterator[tuple[str, str]]:
    """The title of each panel, and each of its expressions, with Grafana's variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$namespace", "faces").replace("$__rate_interval", "1m")
            assert "$" not in expression
            yield panel["title"], expression


def test_the_dashboard_shows_what_the_page_says() -> None:
    titles = " ".join(panel["title"] for panel in DASHBOARD["panels"]).lower()
    for shown in (
        "pictures a second, by blend",
        "in flight",
        "time of a request, by blend",
        "by step",
        "by model and reason",
    ):
        assert shown in titles
    assert "canary" in titles
    assert all(panel["description"] for panel in DASHBOARD["panels"])


def test_panels_have_their_own_place_and_the_chosen_source() -> None:
    squares = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < 24, "Grafana has 24 columns"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"])
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace"}


# Which models are ensembles

ENSEMBLES = "(toonify|sample)(_.*)?|encode"
OF_FACES = "toonify(_.*)?|encode"


def ensembles() -> list[tuple[str, str]]:
    """The name and the configuration of each ensemble."""
    return [(name.split("/")[0], text) for name, text in reference_configs().items() if 'platform: "ensemble"' in text]


def rule_of_adapter() -> dict[str, Any]:
    """The rule for prometheus-adapter on the page."""
    (adapter,) = re.findall(r"<!-- tested: adapter-rule -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    (rule,) = yaml.safe_load(adapter)["rules"]["custom"]
    return dict(rule)


def expressions(helm: Helm) -> list[str]:
    """All that is asked of Prometheus anywhere."""
    keda = ("models.claim=m", "autoscaling.kind=keda", "autoscaling.prometheus=http://prometheus:9090")
    (scaler,) = [each for each in helm.template(*keda) if each["kind"] == "ScaledObject"]
    service = next(yaml.safe_load_all((FOLDER / "kserve/inference_service.yaml").read_text()))
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    asked = [scaler["spec"]["triggers"][0]["metadata"]["query"], metric["external"]["metric"]["query"]]
    of_adapter = rule_of_adapter()["metricsQuery"].replace("<<.GroupBy>>", "pod")
    of_adapter = of_adapter.replace("<<.LabelMatchers>>", 'namespace="faces"')
    (on_page,) = re.findall(r"<!-- tested: canary-rate -->\n```\n(.*?)```", PAGE_OF_SERVER, re.DOTALL)
    asked = [each.replace('"default"', '"faces"') for each in asked]
    return [*RECORDED, *ALERTS.values(), *(expression for _, expression in targets()), *asked, of_adapter, on_page]


def test_ensembles_are_told_from_steps_in_one_way(helm: Helm) -> None:
    patterns = {found for each in expressions(helm) for found in re.findall(r'model[!=]~?"([^"]*)"', each)}
    assert patterns == {ENSEMBLES, OF_FACES, "condition.*", "generator_.*"}
    assert ENSEMBLES in re.findall(r'model!~"([^"]*)"', rule_of_adapter()["seriesQuery"])
    models = {name.split("/")[0] for name in reference_configs()}
    assert {name for name in models if re.fullmatch(ENSEMBLES, name)} == {name for name, _ in ensembles()}


def test_ensembles_of_faces_ask_one_model_condition_and_all_of_pictures_one_generator() -> None:
    """That is why the canary's rate can be told, and why each picture counts once."""
    for name, text in ensembles():
        assert len(re.findall(r'model_name: "condition', text)) == bool(re.fullmatch(OF_FACES, name)), name
        assert len(re.findall(r'model_name: "generator_', text)) == (name != "encode"), name


# The real server's metrics


@dataclass(frozen=True)
class Sample:
    """One series of a server, as it tells Prometheus."""

    name: str
    labels: str
    value: float


def samples(server: TritonServer) -> list[Sample]:
    with urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    rows = [re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line) for line in lines if not line.startswith("#")]
    return [Sample(row[1], row[2] or "", float(row[3])) for row in rows if row]


def total(found: list[Sample], name: str, *labels: str) -> float:
    return sum(each.value for each in found if each.name == name and all(label in each.labels for label in labels))


@pytest.mark.triton
def test_every_metric_is_one_of_the_servers(triton_server: TritonServer, helm: Helm) -> None:
    known = {sample.name for sample in samples(triton_server)}
    asked = {name for expression in expressions(helm) for name in re.findall(r"\bnv_\w+", expression)}
    assert len(asked) > 5
    assert asked <= known


_COUNTED = ("count", "request_success", "request_failure", "request_duration_us", "queue_duration_us")
COUNTERS = {f"nv_inference_{name}" for name in _COUNTED}


def counters(server: TritonServer) -> list[Sample]:
    """The server's counters once they grow no more: a model may count a request after it has answered."""
    before: list[Sample] = []
    while (found := [each for each in samples(server) if each.name in COUNTERS]) != before:
        before = found
        time.sleep(0.3)
    return found


def write_tests(found: list[Sample], asked: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write tests for promtool, by which each expression gives these samples for a server with these series.

    Counters grow by what they are, in each quarter of a minute.
    """
    labels = 'instance="a:8002",namespace="faces",pod="toonify-predictor-1",service="toon-headless"'
    series = [
        {
            "series": f"{each.name}{{{each.labels},{labels}}}".replace("{,", "{"),
            "values": f"{each.value:.0f}x80" if "quantile" in each.labels else f"0+{each.value:.0f}x80",
        }
        for each in found
        if np.isfinite(each.value)
    ]
    given = [{"expr": each, "eval_time": "15m", "exp_samples": samples} for each, samples in asked.items()]
    tests = [{"interval": "15s", "input_series": series, "promql_expr_test": given}]
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))


def something(expression: str) -> dict[str, list[dict[str, Any]]]:
    """What ``write_tests`` expects of an expression that finds anything."""
    return {f"count({expression}) > bool 0": [{"labels": "{}", "value": 1}]}


@pytest.mark.triton
def test_every_expression_finds_something(
    triton_server: TritonServer, helm: Helm, promtool: str, tmp_path: Path
) -> None:
    with ToonifyClient(triton_server.url) as client:
        client.toonify(FACE)
    asked = {}
    for each in expressions(helm):
        asked |= {} if each in ALERTS.values() else something(each)
    assert len(asked) > 15
    found = samples(triton_server)
    write_tests(found, asked, tmp_path / "tests.yaml")
    assert "SUCCESS" in run(promtool, "test", "rules", tmp_path / "tests.yaml")
    write_tests(found, something('nv_inference_count{blend="toonify"}'), tmp_path / "tests.yaml")
    with pytest.raises(AssertionError, match="FAILED"):
        run(promtool, "test", "rules", tmp_path / "tests.yaml")


@pytest.mark.triton
def test_a_failed_request_counts_twice_for_its_ensemble(triton_server: TritonServer) -> None:
    """The rules halve it."""
    labels = ('model="toonify_jpeg"', 'reason="OTHER"')
    before = total(counters(triton_server), "nv_inference_request_failure", *labels)
    with InferenceServerClient(triton_server.url) as client:
        assert "not a JPEG" in refusal(client, "toonify_jpeg", jpeg=np.array([[b"nonsense"]], object))
    assert total(counters(triton_server), "nv_inference_request_failure", *labels) == before + 2


def time_of_requests(found: list[Sample], *, ensembles: bool) -> float:
    """The microseconds that requests to all ensembles took, or to all steps."""
    times = [each for each in found if each.name == "nv_inference_request_duration_us"]
    return sum(each.value for each in times if bool(re.search(f'model="({ENSEMBLES})"', each.labels)) == ensembles)


def growth(before: list[Sample], after: list[Sample]) -> list[Sample]:
    """What counters have grown by; a server may add some when they are first needed."""
    old = {(each.name, each.labels): each.value for each in before}
    return [replace(each, value=each.value - old.get((each.name, each.labels), 0)) for each in after]


@pytest.mark.triton
def test_requests_in_flight_are_told_by_the_time_of_steps_and_not_by_that_of_queues(
    triton_server: TritonServer,
) -> None:
    requests = 64
    before, start = counters(triton_server), time.monotonic()
    with InferenceServerClient(triton_server.url) as client:
        for answer in send(client, "toonify", [{"face": FACE}] * requests):
            answer.result(TIMEOUT)
        seconds, after = time.monotonic() - start, counters(triton_server)
        for answer in send(client, "encoder", [{"face": FACE}] * requests):
            answer.result(TIMEOUT)
    asked, directly = growth(before, after), growth(after, counters(triton_server))

    in_flight = time_of_requests(asked, ensembles=False) / 1e6 / seconds
    assert 2 < in_flight <= 1.1 * requests, "fewer than were sent, since this process sends and decodes meanwhile"
    assert in_flight == pytest.approx(time_of_requests(asked, ensembles=True) / 1e6 / seconds, rel=0.1)
    waiting = total(asked, "nv_inference_queue_duration_us", 'model="toonify"')
    assert waiting < 0.01 * time_of_requests(asked, ensembles=True)
    assert time_of_requests(directly, ensembles=False) > 0
    assert time_of_requests(directly, ensembles=True) == 0


@pytest.mark.triton
def test_what_clients_ask_of_steps_counts_and_the_canary_does_not(
    triton_server: TritonServer, helm: Helm, promtool: str, tmp_path: Path
) -> None:
    before = counters(triton_server)
    with ToonifyClient(triton_server.url) as client, Canary(triton_server.url) as canary:
        w = np.concatenate([client.encode(FACE), client.encode_with_distance(FACE)[0], client.sample_codes([1])])
        client.render(w, attributes={"age": 1.0, "smile": 0.0})
        client.toonify(FACE)
        client.toonify(FACE, model="toonify_live")
        client.toonify_jpeg(jpeg_from_picture(FACE[0]), model="toonify_small")
        client.sample([1, 2])
        client.read_attributes(FACE)
        canary.check()
    found = growth(before, counters(triton_server))
    asked = expressions(helm)
    of_pictures = [each for each in asked if "generator_" in each]
    of_canary = [each for each in asked if "condition" in each and "generator_" not in each]
    of_load = [each for each in asked if "nv_inference_request_duration_us" in each]
    assert [len(of_pictures), len(of_canary), len(of_load)] == [2, 3, 5]

    counts = {"generator_plain": 6, "generator_live": 1, "generator_small": 1, "generator_inverse": 0}
    pictures = [{"labels": f'{{model="{model}"}}', "value": count} for model, count in counts.items()]
    one, steps = [{"labels": "{}", "value": 1}], time_of_requests(found, ensembles=False)
    expected: dict[str, list[dict[str, Any]]] = {
        **{f"round(sum by (model) (15 * ({each})))": pictures for each in of_pictures},
        **{f"round(15 * sum({each.replace('60 * ', '')}))": one for each in of_canary},
        **{f"abs(15e6 * sum({each}) - {steps}) < bool 1": one for each in of_load},
    }
    write_tests(found, expected, tmp_path / "tests.yaml")
    assert "SUCCESS" in run(promtool, "test", "rules", tmp_path / "tests.yaml")
