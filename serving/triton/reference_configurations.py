"""All text files of a Triton model repository: configurations and the ``model.py`` adapters.

``python -m serving.triton.reference_configurations [FOLDER]`` writes the files of the reference pipeline (1024x1024, no
weights) into FOLDER, by default ``model_repository``, which is checked in to be read and compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from engines.contract.attributes import range_parameters
from engines.contract.tensors import (
    CODE_DISTANCE,
    FILLED,
    Geometry,
    Signature,
    classifier_signature,
    condition_signature,
    decode_face_signature,
    draw_z_signature,
    encode_picture_signature,
    encode_signature,
    encoder_signature,
    generator_signature,
    isf_signature,
    mapping_signature,
    sample_signature,
    toonify_jpeg_signature,
    toonify_signature,
)
from engines.model_directory import Component
from serving.live_blends import swapped_shares
from serving.triton.model_configurations import (
    Step,
    engine_config,
    ensemble_config,
    python_config,
    text_from_config,
)
from serving.triton.repository_spec import RepositorySpec, ServedGenerator, ServedMapping
from serving.triton.runtime import Runtime

_MAPPING = ServedMapping("blend_r16", 512)

REFERENCE = RepositorySpec(
    Geometry(1024, guarded=True),
    (
        ServedGenerator("blend_r16", {"blend": "--r-swap 16"}, mapping=_MAPPING),
        ServedGenerator("live", {"blend": "--r-swap 16"}, None, swapped_shares(16, 1024), mapping=_MAPPING),
    ),
    classifier=True,
)


def reference_configs() -> dict[str, str]:
    """Return the text of every file of the checked-in ``model_repository/`` by its relative path."""
    return repository_configs(REFERENCE)


def repository_configs(spec: RepositorySpec) -> dict[str, str]:
    """Return the text of every file of a repository, except the exported models, by its relative path."""
    g, ranges = spec.geometry, range_parameters(spec.ranges)
    files = {
        **_engine_files("encoder", "encoder", encoder_signature(g)),
        **_python_files("condition", "ConditionModel", condition_signature(g, face=spec.classifier), ranges),
        **_python_files("decode_face", "DecodeFaceModel", decode_face_signature()),
    }
    if g.guarded:
        files |= _encode_files(g, condition_signature(g, face=spec.classifier))
    if g.attributes:
        files |= _engine_files("isf", "isf", isf_signature(g))
    if spec.classifier:
        files |= _engine_files("classifier", "classifier", classifier_signature(g))
    for generator in spec.generators:
        own = generator.geometry(g)
        files |= _engine_files(f"generator_{generator.name}", "generator", generator_signature(own), live=own.live)
        files |= _python_files(_encode_picture(own), "EncodePictureModel", encode_picture_signature(own))
        condition = condition_signature(own, face=spec.classifier)
        if own.live:
            parameters = generator.blend_parameters | ranges
            files |= _python_files(_condition(own, generator.name), "ConditionModel", condition, parameters)
        steps = _steps(own, generator.name, condition)
        files |= _ensembles(f"toonify_{generator.name}", own, generator, steps)
        if generator is spec.generators[0]:
            files |= _ensembles("toonify", own, generator, steps)
        if generator.mapping:
            files |= _sample_files(own, generator, generator.mapping)
    return files


ENCODE = "encode"
"""The ensemble of guarded codes, and the parameter by which the others tell that it is there."""


def _encode_files(g: Geometry, condition: Signature) -> dict[str, str]:
    """Return the files of the ensemble that encodes and guards, for codes that are smoothed before they are rendered.

    It tells the distance too. The ensembles of pictures cannot: see ``_steps``.
    """
    guard = Signature(
        tuple(spec for spec in condition.inputs if not spec.optional),
        tuple(spec for spec in condition.outputs if spec.name in (CODE_DISTANCE.name, f"w{FILLED}")),
    )
    steps = [
        Step("encoder", encoder_signature(g), {"w": "w_encoded"}),
        Step("condition", guard, {"w": "w_encoded", f"w{FILLED}": "w"}),
    ]
    return _ensemble_files(ENCODE, encode_signature(g), steps, {})


def _sample_files(g: Geometry, generator: ServedGenerator, mapping: ServedMapping) -> dict[str, str]:
    """Return the files of the ensemble that draws random faces, and of its steps, which several ensembles share."""
    own = replace(g, z_dim=mapping.z_dim, guarded=False)
    draw_z, drawn = draw_z_signature(own), mapping_signature(own)
    # One model for each width, for the reason that ``_encode_picture`` gives, and one for each live generator.
    drawer = f"draw_z_{mapping.z_dim}_{generator.name}" if g.live else f"draw_z_{mapping.z_dim}"
    filled = {spec.name.removesuffix(FILLED): spec.name for spec in draw_z.outputs}
    steps = [
        Step(drawer, draw_z),
        Step(mapping.model, drawn, filled),
        Step(f"generator_{generator.name}", generator_signature(own), filled),
    ]
    return {
        **_python_files(drawer, "DrawZModel", draw_z, generator.blend_parameters),
        **_engine_files(mapping.model, "mapping", drawn),
        **_ensemble_files(f"sample_{generator.name}", sample_signature(own), steps, _parameters(own, generator)),
    }


def _parameters(g: Geometry, generator: ServedGenerator) -> dict[str, str]:
    """Return what clients can read about an ensemble."""
    sizes = {"resolution": str(g.resolution), "rows": str(g.rows), "attributes": ",".join(g.attributes)}
    mapping = {"mapping": generator.mapping.model} if generator.mapping else {}
    guard = {ENCODE: ENCODE} if g.guarded else {}
    shared = {**sizes, **generator.blend_parameters, **mapping, **guard}
    return {**generator.parameters, "generator": generator.name, **shared}


def _ensembles(name: str, g: Geometry, generator: ServedGenerator, steps: Sequence[Step]) -> dict[str, str]:
    """Return the files of an ensemble with arrays at both ends, and of its sibling with JPEG at both ends."""
    parameters = _parameters(g, generator)
    decode = Step("decode_face", decode_face_signature())
    encode = Step(_encode_picture(g), encode_picture_signature(g))
    return {
        **_ensemble_files(name, toonify_signature(g), steps, parameters),
        **_ensemble_files(f"{name}_jpeg", toonify_jpeg_signature(g), [decode, *steps, encode], parameters),
    }


def _encode_picture(g: Geometry) -> str:
    """Return the name of the model for pictures of one resolution.

    One model for pictures of any size would do, but Triton 2.51 gives a python model a tensor with a dimension of -2^63
    where the configuration leaves the dimension open, which ends the model's process.
    """
    return f"encode_picture_{g.resolution}"


def _condition(g: Geometry, generator: str) -> str:
    """Return the name of the model that fills in defaults: one for all generators, and one for each live one.

    A live generator has a control more, with a default of its own.
    """
    return f"condition_{generator}" if g.live else "condition"


def _engine_files(model: str, component: Component, signature: Signature, *, live: bool = False) -> dict[str, str]:
    """Return the files of an exported model, with a configuration for each runtime.

    A live generator runs in the python backend everywhere: its graph has one blend for a whole batch, and only this
    package's engines run the rows of each blend on their own.
    """

    def text(runtime: Runtime) -> str:
        return _generated(engine_config(model, component, signature, "cpu" if live else runtime))

    return {
        f"{model}/config.pbtxt": text("tensorrt"),
        f"{model}/configs/onnxruntime.pbtxt": text("onnxruntime"),
        f"{model}/configs/cpu.pbtxt": text("cpu"),
        f"{model}/1/model.py": _adapter("EngineModel"),
    }


def _python_files(
    model: str, adapter: str, signature: Signature, parameters: Mapping[str, str] | None = None
) -> dict[str, str]:
    return {
        f"{model}/config.pbtxt": _generated(python_config(model, signature, parameters)),
        f"{model}/1/model.py": _adapter(adapter),
    }


def _ensemble_files(
    model: str, signature: Signature, steps: Sequence[Step], parameters: Mapping[str, str]
) -> dict[str, str]:
    # Triton requires the version folder, and git does not keep empty folders.
    return {
        f"{model}/config.pbtxt": _generated(ensemble_config(model, signature, steps, parameters)),
        f"{model}/1/.gitkeep": "",
    }


def _steps(g: Geometry, generator: str, condition: Signature) -> list[Step]:
    """Return the steps from a face to its picture.

    The distance of a code is left out: Triton 2.51 answers a request for some of the outputs of several steps with the
    error "unexpected deadlock", and clients ask for the picture alone.
    """
    condition = replace(condition, outputs=tuple(spec for spec in condition.outputs if spec != CODE_DISTANCE))
    renamed = {spec.name.removesuffix(FILLED): spec.name for spec in condition.outputs}
    steps = [Step("encoder", encoder_signature(g)), Step(_condition(g, generator), condition)]
    if g.attributes:
        steps.append(Step("isf", isf_signature(g), renamed))
        renamed = {**renamed, "w": "w_edited"}
    return [*steps, Step(f"generator_{generator}", generator_signature(g), renamed)]


def _generated(config: ModelConfig) -> str:
    return "# Generated from serving/triton/reference_configurations.py; change it there.\n" + text_from_config(config)


def _adapter(name: str) -> str:
    return f'''"""Adapter of Triton's python backend; the code is in serving/triton/adapters.py."""

from serving.triton.adapters import {name} as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write each text to its relative path below ``folder``."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write_texts(Path(*sys.argv[1:2] or ["model_repository"]), reference_configs())
