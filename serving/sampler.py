"""Random faces by engines in this process, in the same steps as the served ensemble ``sample_<name>``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from engines import Engine, engine_from_directory
from engines.contract.arrays import Codes, Pictures
from engines.contract.closing import Closing
from engines.contract.tensors import draw_z_signature
from engines.matching import mapping_of
from engines.model_directory import manifest_of
from serving.controls import GeneratorControls, control_tensors
from serving.live_blends import choices_of_directory
from serving.pipeline import inputs_of
from serving.random_faces import Seeds, filled_sample, no_mapping, seed_list, z_of_seeds


def mapping_engine(generator: Path, *, threads: int = 0) -> Engine:
    """Load the mapping network of a generator's model directory.

    Raises:
        RequestError: the generator has none.
        ModelDirectoryError: the directory is incomplete or altered.
        EngineError: the engine's library is not installed.
    """
    directory = mapping_of(generator)
    if directory is None:
        raise no_mapping(str(generator))
    return engine_from_directory(directory, threads=threads)


def codes_of_seeds(mapping: Engine, seeds: Seeds) -> Codes:
    """Run a mapping network: one seed or several -> codes float32 [N, L, D], untruncated.

    Raises:
        RequestError: a seed is negative or no whole number, or there is none.
    """
    (z,) = mapping.signature.inputs
    return mapping.run({"z": z_of_seeds(seeds, z.dims[0])})["w"]


class EngineSampler(Closing):
    """Draws random faces with one generator and its mapping network.

    Args:
        generator: the generator's model directory.
        threads: number of threads of each engine; 0 uses every core.

    Raises:
        RequestError: the generator has no mapping network.
        ModelDirectoryError: a directory is incomplete or altered.
        EngineError: an engine's library is not installed.
    """

    def __init__(self, generator: Path, *, threads: int = 0) -> None:
        with ExitStack() as stack:
            self._mapping = stack.enter_context(mapping_engine(generator, threads=threads))
            self._generator = stack.enter_context(engine_from_directory(generator, threads=threads))
            self._engines = stack.pop_all()
        manifest = manifest_of(generator)
        self._choices = choices_of_directory(manifest)
        z_dim = self._mapping.signature.inputs[0].dims[0]
        self._draw_z = draw_z_signature(replace(manifest.geometry, z_dim=z_dim))

    def sample(self, seeds: Seeds, **controls: Unpack[GeneratorControls]) -> Pictures:
        """Draw a picture for each seed: uint8 [N, R, R, 3] RGB; see ``ToonifyClient.sample``.

        Raises:
            RequestError: a seed is negative or no whole number, there is none, or a control does not fit the generator.
        """
        numbers = seed_list(seeds)
        given = control_tensors(self._draw_z, (), {**controls, "seed": numbers}, len(numbers), self._choices)
        filled = filled_sample(self._draw_z, given, self._choices.default)
        w = self._mapping.run(inputs_of(self._mapping, filled))["w"]
        return self._generator.run({"w": w} | inputs_of(self._generator, filled))["image"]

    def close(self) -> None:
        """Close the engines."""
        self._engines.close()
