"""Fixtures shared by test modules: the installed package, tiny model directories, and one real server of them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from continuous_integration import pytest_runtest_makereport  # noqa: F401  # pytest calls it
from export_command import Command, export_command
from installed_wheel import InstalledWheel, install_wheel
from toonify_command import Toonify, toonify_command
from typer.main import get_command

from engines.contract.tensors import Geometry, generator_signature
from serving import cli
from serving.faces.model_files import FOLDER_VARIABLE
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer

if TYPE_CHECKING:
    from tiny_models import TinyModels


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests and the commands that they start from this user's files, and from downloading models."""
    os.environ[FOLDER_VARIABLE] = str(Path(__file__).parent / "no_models")
    cache = TemporaryDirectory(prefix="toonify-tests-")
    config.add_cleanup(cache.cleanup)
    os.environ["XDG_CACHE_HOME"] = cache.name
    # A shell starts background jobs with SIGINT ignored, and the commands that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a Triton server where none is installed, as on Python 3.13."""
    has_server = shutil.which("tritonserver") or find_spec("pytriton")
    if item.get_closest_marker("triton") and not has_server:
        pytest.skip("no Triton server is installed; the embedded one needs Python 3.11 or 3.12")


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> InstalledWheel:
    """The package as a user installs it, without a checkout."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def built_cli() -> Any:
    """The command ``toonify``, built once, since building it takes longer than most tests."""
    return get_command(cli.app)


@pytest.fixture
def toonify(built_cli: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Toonify:
    """A function that runs ``toonify`` with its arguments."""
    return toonify_command(built_cli, monkeypatch, capsys)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """A function that runs ``toonify-export`` in an empty folder: its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    return export_command(monkeypatch, capsys)


@pytest.fixture
def no_gradients() -> Iterator[None]:
    """Switch gradients off, for tests of networks' outputs."""
    import torch

    with torch.no_grad():
        yield


@pytest.fixture(scope="session", params=[None, 0.7], ids=["plain", "clamped"])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported generator of 32x32 pictures, 8 rows of 16 and odd widths; its layers are clamped or not."""
    import onnx
    from generators import random_generator

    from export.graphs.generator import onnx_from_generator
    from export.networks.generator import generator_from_weights

    weights = random_generator(32, {4: 12, 8: 10, 16: 7, 32: 5}, conv_clamp=request.param)
    path = tmp_path_factory.mktemp("generator") / "generator.onnx"
    onnx.save(onnx_from_generator(generator_from_weights(weights), generator_signature(Geometry(32, 16))), path)
    return path


@pytest.fixture(scope="session")
def tiny_model_directories(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """An encoder, an ISF head with two attributes, and the generators "plain", "inverse", "small" and "live"."""
    # Imported here, since most tests need no onnx.
    from tiny_models import write_tiny_models

    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def triton_server(
    tiny_model_directories: TinyModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """One real server of the tiny models on free ports; ``toonify`` is ``toonify_plain``. Tests must not stop it."""
    folder = tmp_path_factory.mktemp("server")
    models = tiny_model_directories
    write_repository(
        folder / "repository",
        encoder=models.encoder,
        isf=models.isf,
        classifier=models.classifier,
        generators=[*models.generators.values(), models.live],
    )
    with TritonServer(folder / "repository", log=folder / "server.log", grpc_port=0, metrics_port=0) as server:
        yield server
