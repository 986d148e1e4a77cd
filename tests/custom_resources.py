"""``python -m tests.custom_resources GIT...``: records schemas of custom resources from their projects' repositories.

GIT are git directories of kserve/kserve, prometheus-operator/prometheus-operator and kedacore/keda, all under the
Apache License 2.0. What is recorded are the schemas without their descriptions, and the commits that they come from.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RECORDED = Path(__file__).parent / "data/custom_resources.json.gz"

FILES = {
    "kserve/kserve": [
        f"config/crd/full/serving.kserve.io_{name}.yaml" for name in ("clusterservingruntimes", "inferenceservices")
    ],
    "prometheus-operator/prometheus-operator": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
        for name in ("podmonitors", "prometheusrules", "servicemonitors")
    ],
    "kedacore/keda": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
}
"""Repository -> its files of custom resource definitions."""


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "--git-dir", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def without_descriptions(schema: Any) -> Any:
    """A schema without the descriptions of its fields; a field may itself be called "description"."""
    if isinstance(schema, list):
        return [without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: without_descriptions(value)
        for name, value in schema.items()
        if not (name == "description" and isinstance(value, str))
    }


def schemas_of(definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of each version of a resource, by "GROUP/VERSION KIND"."""
    spec = definition["spec"]
    return {
        f"{spec['group']}/{version['name']} {spec['names']['kind']}": without_descriptions(
            version["schema"]["openAPIV3Schema"]
        )
        for version in spec["versions"]
    }


def record(directories: dict[str, Path]) -> None:
    """Write the schemas of all repositories."""
    sources, schemas = {}, {}
    for repository, directory in directories.items():
        sources[repository] = {"commit": git(directory, "rev-parse", "HEAD").strip(), "files": FILES[repository]}
        for file in FILES[repository]:
            definition = yaml.load(git(directory, "show", f"HEAD:{file}"), yaml.CSafeLoader)
            schemas.update(schemas_of(definition))
    contents = json.dumps({"license": "Apache-2.0", "sources": sources, "schemas": schemas}, sort_keys=True)
    RECORDED.write_bytes(gzip.compress(contents.encode(), mtime=0))


if __name__ == "__main__":
    record(dict(zip(FILES, map(Path, sys.argv[1:]), strict=True)))
