"""The Job for many files: its schema and its arguments, and what it does, by processes in the place of its pods."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fake_triton import FakeTriton, running
from kubernetes import VERSIONS, Resource, problems, resources

from export.demo_face import demo_face
from serving.faces.images import write_picture
from serving.jobs import Job
from serving.patience import NO_SERVER
from serving.shards import Shard

FILE = Path(__file__).parents[3] / "serving/deploy/kubernetes/many_files.yaml"
TOONIFY = (sys.executable, "-c", "from serving.start import main; main()")
(JOB,) = resources(FILE.read_text())
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
NEVER_ASKED = "127.0.0.1:1"


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_job(version: str) -> None:
    assert problems(JOB, version) == []


def misspelt(job: Resource) -> None:
    job["spec"]["backoffLimitPerIndices"] = 1


def of_another_type(job: Resource) -> None:
    job["spec"]["completions"] = "100"


@pytest.mark.parametrize("mistake", [misspelt, of_another_type])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_mistake_in_the_job_is_found(version: str, mistake: Any) -> None:
    job = deepcopy(JOB)
    mistake(job)
    assert problems(job, version)


def test_what_the_schemas_do_not_know_holds_too() -> None:
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    assert f"--shard=JOB_COMPLETION_INDEX/{spec['completions']}" in CONTAINER["args"]
    assert spec["parallelism"] < spec["completions"]
    assert POD["restartPolicy"] == "Never"  # which podFailurePolicy and backoffLimitPerIndex ask for
    assert "backoffLimit" not in spec  # it would end the whole Job
    rules = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert {rule["containerName"] for rule in rules} == {CONTAINER["name"]}
    assert {volume["name"] for volume in POD["volumes"]} == {mount["name"] for mount in CONTAINER["volumeMounts"]}


def test_pods_can_do_no_more_than_they_need() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["runAsUser"] == 1000
    assert not POD["automountServiceAccountToken"]
    own = CONTAINER["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in CONTAINER["volumeMounts"]}
    assert mounts == {"/in": True, "/out": False, "/tmp": False}
    claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("readOnly") for volume in POD["volumes"]}
    assert claims["in"] is True
    assert CONTAINER["resources"]["limits"].keys() == {"memory"}


def action(code: int) -> str:
    """What the Job does about a container's exit code; a signal's is negative here, and 128 more than it there."""
    for rule in JOB["spec"]["podFailurePolicy"]["rules"]:
        if code in rule.get("onExitCodes", {}).get("values", ()):
            return str(rule["action"])
    return "Count"


class Volumes:
    """The folders of a Job, of which each file is a face, and its servers' address."""

    def __init__(self, folder: Path, count: int, shares: int, url: str) -> None:
        self.inputs, self.outputs, self.shares, self.url = folder / "in", folder / "out", shares, url
        self.inputs.mkdir()
        for name in (self.outputs, folder / "tmp"):
            name.mkdir()
        face = folder / "face.png"
        write_picture(face, demo_face())
        for number in range(count):
            shutil.copy(face, self.inputs / f"{number:03}.png")

    def share(self, index: int) -> list[str]:
        """The names of the outputs of an index."""
        jobs = [Job(path, self.outputs / path.name) for path in sorted(self.inputs.iterdir())]
        return [job.target.name for job in Shard(index + 1, self.shares).of(jobs)]

    def made(self, index: int) -> list[str]:
        return [name for name in self.share(index) if (self.outputs / name).exists()]

    def pod(self, index: int, *more: str) -> subprocess.Popen[str]:
        """A process with the arguments and the environment of a pod."""
        places = {
            "/in": str(self.inputs),
            "--output=/out": f"--output={self.outputs}",
            "--url=toon-headless:8001": f"--url={self.url}",
            f"--shard=JOB_COMPLETION_INDEX/{JOB['spec']['completions']}": f"--shard=JOB_COMPLETION_INDEX/{self.shares}",
        }
        assert places.keys() <= {*CONTAINER["args"]}
        environment = {each["name"]: each["value"].replace("/in", str(self.inputs)) for each in CONTAINER["env"]}
        environment |= {"JOB_COMPLETION_INDEX": str(index), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        arguments = [places.get(argument, argument) for argument in CONTAINER["args"]]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*TOONIFY, *arguments, *more], env=environment, stdout=pipe, stderr=pipe, text=True, cwd=FILE.parents[3]
        )


@contextmanager
def ended(*pods: subprocess.Popen[str]) -> Iterator[None]:
    """Leave no pod behind."""
    try:
        yield
    finally:
        for pod in pods:
            pod.kill()
            pod.communicate()


def test_a_killed_pod_is_started_again_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    with running(FakeTriton(delay=0.3)) as server:
        volumes = Volumes(tmp_path, 24, 2, server.url)
        killed, other = volumes.pod(0), volumes.pod(1)
        with ended(killed, other):
            while not volumes.made(0):
                assert killed.poll() is None, killed.communicate()
                time.sleep(0.01)
            killed.kill()
            assert action(killed.wait()) == "Count"
            before = len(volumes.made(0))
            assert 0 < before < len(volumes.share(0))
            again = volumes.pod(0)
            with ended(again):
                out, err = again.communicate(timeout=60)
            assert (again.returncode, other.wait(60)) == (0, 0), err
        assert volumes.made(0) + volumes.made(1) == volumes.share(0) + volumes.share(1)
        assert len(volumes.share(0) + volumes.share(1)) == 24
        assert (out.count('"skipped"'), out.count('"finished"')) == (before, len(volumes.share(0)) - before)
        in_flight = 4
        assert 24 <= len(server.requests) <= 24 + in_flight


def test_a_damaged_picture_ends_its_share_without_further_tries_and_the_others_are_done(tmp_path: Path) -> None:
    with running(FakeTriton()) as server:
        volumes = Volumes(tmp_path, 4, 1, server.url)
        (volumes.inputs / "001.png").write_bytes(b"no picture")
        pod = volumes.pod(0)
        with ended(pod):
            out, _ = pod.communicate(timeout=60)
    assert action(pod.returncode) == "FailIndex"
    assert volumes.made(0) == ["000.png", "002.png", "003.png"]
    assert f"{volumes.inputs / '001.png'}: got " in out


def test_a_share_without_a_server_is_tried_again_and_a_wrong_option_ends_the_job(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path, 4, 1, NEVER_ASKED)
    pods = [volumes.pod(0, "--timeout=0.5"), volumes.pod(1), volumes.pod(0, "--no-such-option")]
    with ended(*pods):
        codes = [pod.wait(60) for pod in pods]
    assert codes == [NO_SERVER, 2, 2]
    assert [action(code) for code in codes] == ["Count", "FailJob", "FailJob"]
    assert volumes.made(0) == []
