"""Writing of a Triton model repository from model directories."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.contract.atomic import atomic_directory, check_output
from engines.contract.attributes import range_parameters
from engines.contract.errors import RepositoryError
from engines.contract.tensors import Geometry
from engines.hashed_files import sha256_of
from engines.matching import check_classifier, check_codes, check_component, mapping_of
from engines.model_directory import MANIFEST, Component, Manifest, manifest_of, read_manifest
from serving.code_spread import CODE_SPREAD, code_spread_of
from serving.triton.contents import write_contents
from serving.triton.reference_configurations import repository_configs, write_texts
from serving.triton.repository_spec import RepositorySpec, ServedGenerator, ServedMapping


@dataclass(frozen=True)
class _Model:
    directory: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The name of the served model."""
        kind, name = self.manifest.component, self.manifest.name
        return f"{kind}_{name}" if kind in ("generator", "mapping") else kind

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that clients can read; the rest of the manifest names files of the machine that made it."""
        blend = self.manifest.details.get("blend", {})
        return self.hash | ({"blend": blend["schedule"]} if "schedule" in blend else {})

    @property
    def content(self) -> str:
        """What is computed, by which engine: equal for two models that need not both be served."""
        manifest = self.manifest
        return repr((manifest.engine, manifest.precision, manifest.sizes, manifest.files, manifest.plans))

    @property
    def hash(self) -> dict[str, str]:
        return {f"{self.manifest.component}_manifest_sha256": sha256_of(self.directory / MANIFEST)}


def write_repository(
    output: Path,
    *,
    encoder: Path,
    generators: Sequence[Path],
    isf: Path | None = None,
    classifier: Path | None = None,
    guard: bool = True,
    force: bool = False,
) -> None:
    """Write a repository from model directories; the first generator is the one that the ensemble ``toonify`` uses.

    The models' files become hard links if the file system allows it, and copies otherwise. With ``guard``, the
    ensembles pull in codes that lie farther out than those of good faces, if the encoder's directory knows these.

    Raises:
        ModelDirectoryError: a model directory is incomplete or altered.
        RepositoryError: the models do not fit together, or ``force`` would replace a folder that is no repository.
        ExportError: ``output`` exists and ``force`` is false.
    """
    models = _models(output, encoder, generators, isf, classifier, force=force)
    spec = _repository_spec(models)
    if guard and code_spread_of(encoder, models[0].manifest):
        spec = replace(spec, geometry=replace(spec.geometry, guarded=True))
    with atomic_directory(output, force=force) as staging:
        write_texts(staging, repository_configs(spec))
        _keep_out_compiled_code(staging)
        for model in models:
            _link_files(model, staging / model.name / "1")
        if spec.geometry.guarded:
            for condition in staging.glob("condition*/1"):
                _link(encoder / CODE_SPREAD, condition / CODE_SPREAD)
        write_contents(staging)


def _keep_out_compiled_code(repository: Path) -> None:
    """Put a file where Python would keep compiled copies of the models' code.

    Python would run a compiled copy in place of the code, and Triton's python backend ignores the variables that tell
    Python where to keep them. It compiles the few lines at every start instead.
    """
    for code in repository.glob("*/1/model.py"):
        code.with_name("__pycache__").touch()


def check_repository(
    output: Path,
    *,
    encoder: Path,
    generators: Sequence[Path],
    isf: Path | None = None,
    classifier: Path | None = None,
    force: bool = False,
) -> dict[Path, Manifest]:
    """Return manifests by model directory, or raise what ``write_repository`` would raise, without writing anything."""
    models = _models(output, encoder, generators, isf, classifier, force=force)
    _repository_spec(models)
    return {model.directory: model.manifest for model in models}


def _refuse_another_folder(output: Path) -> None:
    if output.exists() and not (output / "toonify" / "config.pbtxt").is_file():
        raise RepositoryError(
            str(output),
            got="a folder that is not a model repository",
            expected="a new path, or a repository to replace",
            remedy="choose another output",
        )


def _models(
    output: Path,
    encoder: Path,
    generators: Sequence[Path],
    isf: Path | None,
    classifier: Path | None,
    *,
    force: bool,
) -> list[_Model]:
    """Check that the output can be written, and read the models, the encoder first."""
    check_output(output, force=force)
    _refuse_another_folder(output)
    models = [_model(encoder, "encoder"), *(_model(path, "generator") for path in generators)]
    models += _mappings(models[1:])
    optional: tuple[tuple[Path | None, Component], ...] = ((isf, "isf"), (classifier, "classifier"))
    return models + [_model(directory, component) for directory, component in optional if directory]


def _mappings(generators: Sequence[_Model]) -> list[_Model]:
    """Read the generators' mapping networks; blends of one base have the same, which is served once."""
    models = [_mapping(model, directory) for model in generators if (directory := mapping_of(model.directory))]
    return [*{model.content: model for model in reversed(models)}.values()][::-1]


def _mapping(generator: _Model, directory: Path) -> _Model:
    """Read a mapping network under the generator's name, which no other generator has; its manifest may differ."""
    model = _model(directory, "mapping")
    return replace(model, manifest=model.manifest.model_copy(update={"name": generator.manifest.name}))


def _model(directory: Path, component: Component) -> _Model:
    manifest = read_manifest(directory)
    remedy = "give each model directory under its own component"
    check_component(manifest, component, RepositoryError, subject=str(directory), remedy=remedy)
    return _Model(directory, manifest)


def _repository_spec(models: Sequence[_Model]) -> RepositorySpec:
    """Check that the models, the encoder first, fit together, and return what the repository serves."""
    encoder = models[0]
    generators = [model for model in models if model.manifest.component == "generator"]
    isf, classifier = (_of(models, component) for component in ("isf", "classifier"))
    if classifier:
        own = isf.manifest if isf else None
        check_classifier(classifier.manifest, own, RepositoryError, subject=str(classifier.directory))
    for model in models:
        if model is classifier:  # it has no codes
            continue
        check_codes(
            model.manifest,
            encoder.manifest,
            RepositoryError,
            subject=str(model.directory),
            remedy="serve models of different sizes from different repositories",
        )
    _check_names([model.manifest.name for model in generators])
    sizes, edits = encoder.manifest.sizes, isf.manifest.sizes if isf else None
    ranges = isf.manifest.ranges if isf else {}
    shared = encoder.hash | (isf.hash if isf else {}) | (classifier.hash if classifier else {})
    return RepositorySpec(
        Geometry(sizes.resolution, sizes.w_dim, *((edits.attributes, edits.noise_size) if edits else ((), 0))),
        tuple(_served_generator(model, models, shared | range_parameters(ranges)) for model in generators),
        classifier is not None,
        ranges,
    )


def _served_generator(generator: _Model, models: Sequence[_Model], shared: dict[str, str]) -> ServedGenerator:
    """Describe a generator with that of the models which is its mapping network; ``shared`` are further parameters."""
    manifest = generator.manifest
    served = ServedGenerator(
        manifest.name,
        generator.parameters | shared,
        manifest.sizes.resolution,
        manifest.default_blend,
        manifest.transferred_models,
    )
    directory = mapping_of(generator.directory)
    if directory is None:
        return served
    content = _Model(directory, manifest_of(directory)).content
    mapping = next(model for model in models if model.content == content)
    network = ServedMapping(mapping.manifest.name, mapping.manifest.sizes.z_dim)
    return replace(served, parameters={**served.parameters, **mapping.hash}, mapping=network)


def _of(models: Sequence[_Model], component: Component) -> _Model | None:
    return next((model for model in models if model.manifest.component == component), None)


def _check_names(generators: Sequence[str]) -> None:
    if not generators:
        raise RepositoryError("repository", got="no generator", expected="at least one", remedy="give --generator DIR")
    for name, count in Counter(generators).items():
        # NAME is served as toonify_NAME and toonify_NAME_jpeg; a NAME that ends in jpeg would make these ambiguous.
        if count > 1 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*(?<!jpeg)", name):
            raise RepositoryError(
                f"generator {name!r}",
                got=f"{count} of that name" if count > 1 else "a name that cannot be served",
                expected="different names of letters, digits, '_', '.' and '-', not ending in 'jpeg'",
                remedy="export it again with another --name",
            )


def _link_files(model: _Model, destination: Path) -> None:
    for name in (MANIFEST, *model.manifest.files):
        _link(model.directory / name, destination / name)


def _link(file: Path, destination: Path) -> None:
    source = file.resolve()  # a hard link must lead to the file, not to a symbolic link
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, destination)
