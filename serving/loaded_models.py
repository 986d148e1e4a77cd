"""Checks that model directories which one process loads together fit one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines import Manifest
from engines.contract.errors import RequestError
from engines.matching import check_codes
from engines.model_directory import manifest_of


def distinct_names(generators: Sequence[Manifest]) -> list[str]:
    """Return the generators' names.

    Raises:
        RequestError: there is no generator, or two have one name.
    """
    names = [generator.name for generator in generators]
    if not names or len({*names}) < len(names):
        raise RequestError(
            "generators",
            got=", ".join(names) or "none",
            expected="at least one, each with a name of its own",
            remedy="give model directories with different names",
        )
    return names


def check_all_codes(models: Sequence[Manifest], encoder: Manifest) -> None:
    """Raise RequestError unless the codes of each model have the shape of the encoder's."""
    for model in models:
        check_codes(
            model,
            encoder,
            RequestError,
            subject=f"{model.component} {model.name}",
            remedy="give models that were trained for each other, and an encoder exported without --light",
        )


def check_light_encoder(directory: Path, encoder_manifest: Manifest) -> None:
    """Raise RequestError unless the directory holds an encoder that was made from the encoder's checkpoint."""
    light = manifest_of(directory)
    same = [source.sha256 for source in light.sources] == [source.sha256 for source in encoder_manifest.sources]
    if light.component != "encoder" or not same:
        raise RequestError(
            f"light encoder {directory}",
            got="an encoder of another checkpoint" if light.component == "encoder" else f"a {light.component}",
            expected=f"an encoder of the same checkpoint as {encoder_manifest.name}",
            remedy="export it with toonify-export encoder --light",
        )
