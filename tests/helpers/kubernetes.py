"""Strict checks of Kubernetes' objects without a cluster: a field that no schema knows is a problem.

Kubernetes' own kinds are checked by the package kubernetes-validate, which carries the schemas of many versions; those
of KServe, KEDA and the Prometheus Operator by schemas recorded from these projects (``tests/custom_resources.py``).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.custom_resources import RECORDED

VERSIONS = ("1.33", "1.35", "1.37")
"""Versions of Kubernetes that everything is checked for."""

Resource = dict[str, Any]


def resources(text: str) -> list[Resource]:
    """The objects in a text of YAML; empty documents, as templates leave them, are none."""
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def problems(resource: Resource, version: str) -> list[str]:
    """What a version of Kubernetes would not take in an object; of its own kinds, the first such thing alone."""
    name = f"{resource['kind']} {resource['metadata']['name']}"
    kind = f"{resource['apiVersion']} {resource['kind']}"
    errors = _custom_errors(resource, kind) if kind in recorded_schemas() else _own_errors(resource, version)
    return [f"{name}: {'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


@cache
def recorded_schemas() -> dict[str, Any]:
    """Strict schemas of custom resources by "GROUP/VERSION KIND"."""
    schemas = json.loads(gzip.decompress(RECORDED.read_bytes()))["schemas"]
    return {kind: _strict(schema) for kind, schema in schemas.items()}


def _own_errors(resource: Resource, version: str) -> Iterator[Any]:
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield error


def _custom_errors(resource: Resource, kind: str) -> Iterator[Any]:
    validator = jsonschema.Draft202012Validator(recorded_schemas()[kind])
    return iter(sorted(validator.iter_errors(resource), key=lambda error: list(map(str, error.absolute_path))))


def _strict(schema: Any) -> Any:
    """The same schema, which allows no fields but those it names; Kubernetes itself drops the others in silence."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items()}
    if strict.pop("x-kubernetes-int-or-string", False):
        strict.pop("type", None)
        strict["type"] = ["integer", "string"]
    open_ended = strict.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in strict
    if strict.get("type") == "object" and "properties" in strict and not open_ended:
        strict["additionalProperties"] = False
    return strict
