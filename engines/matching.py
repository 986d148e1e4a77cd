"""Which model directories belong together: models of the same codes, and a generator with its mapping network."""

from __future__ import annotations

import os
from pathlib import Path

from engines.contract.errors import ModelDirectoryError, ToonifyError
from engines.model_directory import Component, Manifest, manifest_of

MAPPING = "mapping"
"""Folder in a generator's model directory: the model directory of the mapping network, z -> w, if there is one.

As a model directory of its own it is hashed, loaded and served like every other model; in the generator's directory it
is copied, signed and given to commands together with the generator whose codes it draws.
"""


def check_component(
    model: Manifest, component: Component, error: type[ToonifyError], *, subject: str, remedy: str
) -> None:
    """Raise ``error`` unless the model is of a component."""
    if model.component != component:
        raise error(subject, got=f"a model directory of component {model.component}", expected=component, remedy=remedy)


def check_codes(model: Manifest, encoder: Manifest, error: type[ToonifyError], *, subject: str, remedy: str) -> None:
    """Raise ``error`` unless the model takes codes of the encoder's shape."""
    got, expected = _codes(model), _codes(encoder)
    if got != expected:
        raise error(
            subject,
            got=f"codes of {got}",
            expected=f"{expected}, as encoder {encoder.name} gives them",
            remedy=remedy,
        )


def check_classifier(classifier: Manifest, isf: Manifest | None, error: type[ToonifyError], *, subject: str) -> None:
    """Raise ``error`` unless the model is a classifier of the ISF head's attributes, in the same order."""
    expected = isf.sizes.attributes if isf else ()
    if isf and isf.ranges:
        raise error(
            subject,
            got="a classifier beside a head of directions",
            expected="none: a direction that is not named stays at rest, whatever the face shows",
            remedy="leave --classifier out",
        )
    if classifier.component != "classifier" or not isf or classifier.sizes.attributes != expected:
        names = ", ".join(classifier.sizes.attributes) or "none"
        raise error(
            subject,
            got=f"a model of component {classifier.component} with the attributes {names}",
            expected=f"a classifier of {', '.join(expected)}"
            if isf
            else "a classifier beside the ISF head that it is for",
            remedy="export classifier and ISF head from one checkpoint with the same --attributes",
        )


def mapping_of(generator: Path) -> Path | None:
    """Return the model directory of a generator's mapping network; None if there is none.

    Raises:
        ModelDirectoryError: something else has that name, a manifest is not usable, or the mapping network was not
            exported with this generator.
    """
    directory = generator / MAPPING
    if not os.path.lexists(directory):
        return None
    if not directory.is_dir():
        raise ModelDirectoryError(
            str(directory),
            got="no folder",
            expected="the model directory of a mapping network, or nothing",
            remedy="export the generator again, or delete it",
        )
    mapping, own = manifest_of(directory), manifest_of(generator)
    if mapping.component != "mapping" or mapping.sources != own.sources or _codes(mapping) != _codes(own):
        raise ModelDirectoryError(
            str(directory),
            got=f"a {mapping.component} of {', '.join(source.file for source in mapping.sources) or 'another export'}",
            expected=f"the mapping network that was exported with generator {own.name}",
            remedy="export the generator again",
        )
    return directory


def _codes(manifest: Manifest) -> str:
    return f"{manifest.sizes.geometry.rows} rows of {manifest.sizes.w_dim}"
