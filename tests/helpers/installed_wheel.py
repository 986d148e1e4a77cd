"""Builds the package as it is published, and installs it where there is no checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class InstalledWheel:
    """Both archives, and the virtual environment ``folder`` in which the wheel is installed."""

    sdist: Path
    wheel: Path
    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        return self.scripts / "python"


def install_wheel(folder: Path) -> InstalledWheel:
    """Build the source archive, from it the wheel, and install it; the dependencies are those of this environment."""
    source = folder / "source"
    left_out = ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "__pycache__", "tests", "benchmarks")
    copytree(ROOT, source, ignore=left_out)
    # These tests do not check for warnings of compilers and of setuptools.
    build = [sys.executable, "-W", "ignore", "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    installed = InstalledWheel(sdist, wheel, folder / "environment")
    venv.create(installed.folder, with_pip=False, symlinks=True)
    site = installed.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(installed.python), "install", "--no-index", "--no-deps"]
    # Without --ignore-installed, pip would see the editable installation through dependencies.pth.
    subprocess.run([*pip, "--ignore-installed", str(wheel)], capture_output=True, check=True)
    return installed
