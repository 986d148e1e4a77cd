"""The script that makes the environment of ``make``: which interpreter, which build of PyTorch, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import environment
from environment import Environment, Failure, Interpreter, first_suitable, named_interpreter

ROOT = Path(__file__).parents[2]


def interpreter(version: tuple[int, int] = (3, 12), *, path: str = "python", **missing: object) -> Interpreter:
    whole = Interpreter(path, version, has_pip=True, has_library=True, glibc=(2, 36))
    return whole._replace(**missing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lacking", "server", "objection"),
    [
        (interpreter(), True, ""),
        (interpreter((3, 14)), False, ""),
        (interpreter((3, 10)), False, "this package needs Python 3.11, 3.12, 3.13 or 3.14"),
        (interpreter((3, 15)), False, "this package needs Python 3.11, 3.12, 3.13 or 3.14"),
        (interpreter((3, 13)), True, "the embedded server needs 3.11 or 3.12"),
        (interpreter(has_pip=False), False, "its module ensurepip is missing .*apt-get install python3-venv"),
        (interpreter(has_library=False), True, "needs its shared library .*apt-get install libpython3.12"),
        (interpreter(has_library=False), False, ""),
        (interpreter(glibc=(2, 34)), True, "the embedded server needs glibc 2.35 or later"),
        (interpreter(glibc=(2, 17)), False, "PyTorch needs glibc 2.28 or later"),
        (interpreter(glibc=(0,)), False, "PyTorch needs glibc"),
    ],
)
def test_what_an_interpreter_lacks_is_said_with_the_remedy(lacking: Interpreter, server: bool, objection: str) -> None:
    said = lacking.objection(server=server)
    assert bool(said) is bool(objection)
    if objection:
        with pytest.raises(Failure, match=objection):
            raise Failure(said)


def test_this_interpreter_is_recognised() -> None:
    here = environment.probe(sys.executable)
    assert here is not None
    assert here.version == sys.version_info[:2]
    assert here.has_pip


def test_the_first_suitable_interpreter_is_taken_and_the_choice_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = {
        "python3": interpreter((3, 13), path="/usr/bin/python3"),
        "python3.13": interpreter((3, 13), path="/usr/bin/python3"),
        "python3.12": interpreter(path="/opt/python3.12"),
    }
    monkeypatch.setattr(environment, "probe", here.get)
    assert first_suitable(["python3", "absent", "python3.13", "python3.12"], server=True).path == "/opt/python3.12"
    sentence = "Python 3.13 (/usr/bin/python3): the embedded server needs 3.11 or 3.12; taking Python 3.12"
    assert sentence in capsys.readouterr().out
    assert first_suitable(["python3", "python3.12"], server=False).path == "/usr/bin/python3"
    assert not capsys.readouterr().out


def test_where_none_is_suitable_each_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"python3": interpreter((3, 13), path="/a"), "python3.9": interpreter((3, 9), path="/b")}
    monkeypatch.setattr(environment, "probe", here.get)
    with pytest.raises(Failure) as failure:
        first_suitable(["python3", "python3", "python3.9"], server=True)
    assert str(failure.value).count("(/a)") == 1
    assert "install what is missing, or Python 3.11 or 3.12" in str(failure.value)


def test_an_interpreter_that_was_named_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "probe", {"python3.13": interpreter((3, 13), path="/x/python3.13")}.get)
    sentence = r"Python 3\.13 \(/x/python3\.13\): the embedded server needs 3\.11 or 3\.12; try PYTHON=python3\.12"
    with pytest.raises(Failure, match=sentence):
        named_interpreter("python3.13", server=True)
    assert named_interpreter("python3.13", server=False).version == (3, 13)
    with pytest.raises(Failure, match="PYTHON=nonsense: got no interpreter of that name"):
        named_interpreter("nonsense", server=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("a folder") / ".venv", "demo")
    here = environment.probe(sys.executable)
    assert here is not None
    made.create(here)
    return made


def installed(made: Environment, package: str) -> str:
    show = [made.python, "-m", "pip", "--disable-pip-version-check", "show", package]
    lines = subprocess.run(show, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line for line in lines if line.startswith("Version: ")).removeprefix("Version: ")


def local_index(folder: Path) -> str:
    """An index with one package, torch's pinned version for processors, which is empty but asks for another."""
    version = environment._pinned("torch").removeprefix("torch==") + "+cpu"
    wheel, info = folder / f"torch-{version}-py3-none-any.whl", f"torch-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\nRequires-Dist: nowhere\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "torch").mkdir()
    (folder / "torch/index.html").write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    return folder.as_uri()


@pytest.fixture
def without_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sees no folder of wheels of this machine, which may hold PyTorch."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_torch_without_cuda_comes_from_its_own_index(
    made: Environment, tmp_path: Path, without_configuration: None
) -> None:
    made._install_torch_from(local_index(tmp_path))
    assert installed(made, "torch").endswith("+cpu")


def test_an_index_that_does_not_answer_is_named_and_passed_over(
    made: Environment, tmp_path: Path, without_configuration: None, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/index.html").write_text("")
    other = Environment(made.folder, "tests")
    subprocess.run([made.python, "-m", "pip", "uninstall", "--yes", "torch"], capture_output=True, check=True)
    other._install_torch_from(tmp_path.as_uri())
    out, err = capfd.readouterr()
    assert f"{tmp_path.as_uri()} gives no PyTorch without CUDA (see above): the usual build follows" in out
    assert "No matching distribution found for torch" in err


def test_without_helm_the_installation_goes_on_and_says_what_is_left_out(
    made: Environment,
    tmp_path: Path,
    without_configuration: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    made._install_helm()
    assert (
        f"{environment.HELM} cannot be installed (see above): tests of the Helm chart are left out."
        in capfd.readouterr().out
    )


def test_an_environment_without_pip_as_an_interrupted_run_leaves_one_is_made_again(made: Environment) -> None:
    here = environment.probe(made.python)
    assert here is not None
    marker = made.folder / "marker"
    marker.touch()
    made.create(here)
    assert marker.exists(), "one that works stays"
    subprocess.run([made.python, "-m", "pip", "uninstall", "--yes", "pip"], capture_output=True, check=True)
    outside = environment.probe(sys.executable)
    assert outside is not None
    made.create(outside)
    assert not marker.exists()
    assert made._has_pip()


def test_what_was_installed_is_known_until_something_changes(
    made: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "_run", lambda command: commands.append([*command]))
    Environment(made.folder, "tests").install(cpu_index=None)
    (*_, package), (*_, option, helm) = commands
    assert package == f"{ROOT}[{','.join(environment.EXTRAS['tests'])}]"
    assert option == "--no-deps"
    assert helm.startswith(f"{environment.HELM}==")
    assert Environment(made.folder, "demo").is_complete(None)
    assert Environment(made.folder, "tests").is_complete(sys.executable)
    monkeypatch.setattr(environment, "_digest", lambda: "other files")
    assert not Environment(made.folder, "demo").is_complete(None)


@pytest.mark.parametrize(("build", "sentence"), [("cpu", "CPU=0 takes the usual build"), ("cuda", "CPU=1 leaves them")])
def test_the_size_of_a_download_is_said_before_it_begins(
    build: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.announce(tmp_path / ".venv", build)
    assert sentence in capsys.readouterr().out
    monkeypatch.setitem(environment.GIGABYTES, build, 10**9)
    with pytest.raises(Failure, match=r"\.venv: got \d+\.\d GB of free space, expected 1000000000"):
        environment.announce(tmp_path / ".venv", build)


def test_a_failure_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "environment.py"),
        "demo",
        "--venv",
        str(tmp_path / "v"),
        "--python",
        "absent",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: PYTHON=absent: got no interpreter of that name, expected Python 3.11, 3.12, 3.13 or 3.14\n"
    )
    assert not (tmp_path / "v").exists()


def test_make_without_a_target_explains_itself() -> None:
    # Under "make test" a second make would inherit the first one's options, and name the folder that it enters.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make"], cwd=ROOT, env=outside, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("make demo")
    assert "PYTHON=python3.12" in done.stdout
    assert "$" not in done.stdout
