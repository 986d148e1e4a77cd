"""Writing of a repository from model directories: its files, and refusal of models that do not fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tiny_models import (
    ISF_SIZES,
    MAPPING_SIZES,
    SIZES,
    TinyModels,
    write_encoder,
    write_generator,
    write_isf,
    write_mapping,
)
from tritonclient.grpc.model_config_pb2 import ModelConfig

from engines.contract.errors import ExportError, ModelDirectoryError, RepositoryError
from engines.hashed_files import sha256_of
from engines.matching import MAPPING
from engines.model_directory import MANIFEST, read_manifest, write_manifest
from serving.triton.repository import write_repository


def write(output: Path, models: TinyModels, *, force: bool = False) -> None:
    write_repository(
        output, encoder=models.encoder, isf=models.isf, generators=[*models.generators.values()], force=force
    )


def test_each_model_lies_in_its_version_folder_unaltered(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    write(tmp_path / "repository", tiny_model_directories)
    for model in ("encoder", "isf", "generator_plain", "generator_inverse"):
        read_manifest(tmp_path / "repository" / model / "1")


def test_models_take_no_second_space_on_the_disk(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    write(tmp_path / "repository", tiny_model_directories)
    assert (tmp_path / "repository/encoder/1/encoder.onnx").samefile(tiny_model_directories.encoder / "encoder.onnx")


def test_models_are_copied_where_links_are_refused(
    tiny_model_directories: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    write(tmp_path / "repository", tiny_model_directories)
    read_manifest(tmp_path / "repository/encoder/1")


def test_the_default_ensemble_is_that_of_the_first_generator(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    write(tmp_path / "repository", tiny_model_directories)
    config = text_format.Parse((tmp_path / "repository/toonify/config.pbtxt").read_text(), ModelConfig())
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    plain = tiny_model_directories.generators["plain"]
    assert parameters["generator"] == "plain"
    assert parameters["blend"] == "--r-swap 16"
    assert parameters["generator_manifest_sha256"] == sha256_of(plain / MANIFEST)
    assert parameters["isf_manifest_sha256"] == sha256_of(tiny_model_directories.isf / MANIFEST)


def test_a_mapping_network_that_generators_share_is_served_once(
    tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    write(tmp_path / "repository", tiny_model_directories)
    models = {path.name for path in (tmp_path / "repository").iterdir()}
    assert {name for name in models if name.startswith(("sample", "mapping"))} == {
        "sample_plain",
        "sample_inverse",
        "mapping_plain",
    }
    assert read_manifest(tmp_path / "repository/mapping_plain/1").component == "mapping"
    config = text_format.Parse((tmp_path / "repository/sample_inverse/config.pbtxt").read_text(), ModelConfig())
    plain = tiny_model_directories.generators["plain"] / MAPPING
    assert config.parameters["mapping_manifest_sha256"].string_value == sha256_of(plain / MANIFEST)


def test_mapping_networks_that_differ_are_served_both(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    wide = write_generator(tmp_path / "wide", "wide")
    write_mapping(wide, MAPPING_SIZES.model_copy(update={"noise_size": 3}))
    generators = {"plain": tiny_model_directories.generators["plain"], "wide": wide}
    write(tmp_path / "repository", replace(tiny_model_directories, generators=generators))
    assert (tmp_path / "repository/mapping_plain").is_dir()
    assert (tmp_path / "repository/mapping_wide").is_dir()


def test_a_mapping_network_has_the_name_of_its_generator(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    first, second = (write_generator(tmp_path / name, "plain") for name in ("first", "second"))
    write_mapping(first)
    write_mapping(second, MAPPING_SIZES.model_copy(update={"noise_size": 3}))
    write_manifest(second, read_manifest(second).model_copy(update={"name": "renamed"}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*/mapping/*")}
    repository = tmp_path / "repository"
    write_repository(repository, encoder=tiny_model_directories.encoder, generators=[first, second])
    assert (repository / "mapping_plain").is_dir()
    assert (repository / "mapping_renamed").is_dir()
    assert {path: path.read_bytes() for path in before} == before


def test_an_altered_mapping_network_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "plain", "plain")
    (write_mapping(generator) / "mapping.onnx").write_bytes(b"")
    with pytest.raises(ModelDirectoryError, match=r"mapping\.onnx: got a file with sha256"):
        write(tmp_path / "repository", replace(tiny_model_directories, generators={"plain": generator}))


def test_an_existing_repository_is_replaced_only_by_force(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    write(tmp_path / "repository", tiny_model_directories)
    with pytest.raises(ExportError, match="repository: got an output that is already there"):
        write(tmp_path / "repository", tiny_model_directories)
    write(tmp_path / "repository", tiny_model_directories, force=True)


def test_force_replaces_nothing_but_a_repository(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(RepositoryError, match="thesis: got a folder that is not a model repository"):
        write(tmp_path / "thesis", tiny_model_directories, force=True)
    assert (tmp_path / "thesis/chapter.tex").exists()


def test_a_generator_of_another_resolution_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    small = write_generator(tmp_path / "small", "small", SIZES.model_copy(update={"resolution": 16}))
    with pytest.raises(RepositoryError, match=r"small: got codes of 6 rows of 16, expected 8 rows of 16, as"):
        write_repository(tmp_path / "repository", encoder=tiny_model_directories.encoder, generators=[small])
    assert not (tmp_path / "repository").exists()


def test_an_isf_of_another_width_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    narrow = write_isf(tmp_path / "narrow", ISF_SIZES.model_copy(update={"w_dim": 8}))
    with pytest.raises(RepositoryError, match="narrow: got codes of 8 rows of 8"):
        write(tmp_path / "repository", replace(tiny_model_directories, isf=narrow))


def test_a_generator_given_as_the_encoder_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    plain = tiny_model_directories.generators["plain"]
    with pytest.raises(RepositoryError, match="plain: got a model directory of component generator, expected encoder"):
        write(tmp_path / "repository", replace(tiny_model_directories, encoder=plain))


def test_an_altered_model_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    (encoder / "encoder.onnx").write_bytes(b"")
    with pytest.raises(ModelDirectoryError, match=r"encoder\.onnx: got a file with sha256"):
        write(tmp_path / "repository", replace(tiny_model_directories, encoder=encoder))


def test_two_generators_of_one_name_are_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    plain = tiny_model_directories.generators["plain"]
    with pytest.raises(RepositoryError, match="generator 'plain': got 2 of that name"):
        write_repository(tmp_path / "repository", encoder=tiny_model_directories.encoder, generators=[plain, plain])


# "toonify_plain_jpeg" is the JPEG form of "toonify_plain".
@pytest.mark.parametrize("name", ["plain_jpeg", "jpeg", "../plain", "a b", ""])
def test_a_name_that_cannot_be_served_is_refused(name: str, tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "generator", name)
    with pytest.raises(RepositoryError, match=f"generator '{name}': got a name that cannot be served"):
        write_repository(tmp_path / "repository", encoder=tiny_model_directories.encoder, generators=[generator])


def test_a_repository_without_a_generator_is_refused(tiny_model_directories: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="repository: got no generator, expected at least one"):
        write(tmp_path / "repository", replace(tiny_model_directories, generators={}))
