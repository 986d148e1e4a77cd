"""The command ``toonify-export``: its output, its exit codes, and the files that it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export_command import Command
from generators import random_generator, random_sibling
from tiny_models import TinyModels, write_generator

from engines import Engine, engine_from_directory, read_manifest
from engines.model_directory import Sizes
from export import end_to_end
from export.checkpoints import read_generator, write_generator_safetensors
from export.demo_models.files import DemoFiles


@pytest.fixture(scope="module")
def demo() -> DemoFiles:
    return DemoFiles()


def test_inspect_describes_every_kind_of_checkpoint(command: Command, demo: DemoFiles) -> None:
    expected = {
        demo.base: {"kind": "generator", "resolution": 256, "rows": 14, "w_dim": 46},
        demo.encoder: {"kind": "encoder", "rows": 14, "w_dim": 46},
        demo.restyle: {"kind": "encoder", "rows": 14, "steps": 1},
        demo.isf: {"kind": "isf", "rows": 14, "attributes": ["gender", "glasses", "age", "expression"]},
    }
    for path, fields in expected.items():
        code, out, _ = command("inspect", path, "--json")
        assert code == 0
        assert json.loads(out).items() >= fields.items()


def test_inspect_prints_a_fact_a_line(command: Command, demo: DemoFiles) -> None:
    code, out, _ = command("inspect", demo.transfer)
    assert code == 0
    assert "resolution     256" in out.splitlines()


def test_convert_keeps_every_tensor(command: Command, demo: DemoFiles) -> None:
    assert command("convert", demo.base, "base.safetensors")[0] == 0
    assert command("convert", "base.safetensors", "again.pt")[0] == 0
    original, again = read_generator(demo.base), read_generator(Path("again.pt"))
    assert original.tensors.keys() == again.tensors.keys()
    assert all(np.array_equal(value, again.tensors[name]) for name, value in original.tensors.items())


def test_a_format_that_would_lose_the_clamp_must_be_asked_for(command: Command, tmp_path: Path) -> None:
    write_generator_safetensors(random_generator(8, conv_clamp=256.0), tmp_path / "clamped.safetensors")
    code, _, err = command("convert", "clamped.safetensors", "clamped.pt")
    assert code == 1
    assert "conv_clamp" in err
    assert not Path("clamped.pt").exists()
    assert command("convert", "clamped.safetensors", "clamped.pt", "--drop-clamp")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["inspect", "absent.pt"], "absent.pt"),
        (["convert", "BASE", "base.onnx"], "base.onnx: got the suffix '.onnx', expected .pt or .safetensors"),
        (["blend", "--r-swap", "16", "--base", "BASE"], "got only --base, expected both --base and --transfer"),
        (["blend", "--r-swap", "17", "--base", "BASE", "--transfer", "TRANSFER"], "got 17, expected a power of two"),
        (["blend", "--base", "BASE", "--transfer", "TRANSFER"], "got no options, expected --r-swap R or"),
        (["blend", "--r-swap", "16", "--base", "BASE", "--transfer", "BASE"], "base.pt"),
        (["blend", "--r-swap", "16", "--base", "BASE", "--transfer", "ENCODER"], "encoder.pt"),
        (["blend", "--r-swap", "16", "--base", "BASE", "--transfer", "TRANSFER", "--name", "a/b"], "got 'a/b'"),
        (["blend", "--r-swap", "16,x"], "--r-swap: got 'x', expected a resolution, or several with commas"),
        (["blend", "--r-swap", "16,32", "--name", "mine"], "got 2 with the name mine, expected a name of its own"),
        (["blend", "--live", "--r-swap", "16,32"], "The blends with --live: got 2, expected one, which is the default"),
        (["blend", "--live", "--target", "tensorrt"], "--target tensorrt: got a live generator"),
        (["blend", "--live", "--target", "torch-cuda"], "expected an NVIDIA GPU with a PyTorch for CUDA"),
        (["blend", "--live", "--r-swap", "16", "--compat", "vtoonify"], "layers of 4x4 with different shares"),
        (["blend", "--r-swap", "16,16"], "got 2 with names of which two are equal"),
        (["isf", "--checkpoint", "ISF", "--resolution", "1024"], "got 14 rows, which is resolution 256"),
        (
            ["encoder", "--checkpoint", "ENCODER", "--engine", "onnxruntime", "--precision", "bf16"],
            "got onnxruntime fp32 on this machine, expected an engine that offers it",
        ),
        (["generator", "--checkpoint", "BASE", "--target", "torch-cuda"], "expected an NVIDIA GPU with a PyTorch for"),
        (["generator", "--checkpoint", "BASE", "--target", "tensorrt"], "or pip install 'toonify-serve[tensorrt]'"),
        (["generator", "--target", "tensorrt-rtx", "--plugins", "on"], "got --plugins on, expected native layers"),
        (["plans", "absent"], "absent: got no such directory"),
        (["verify", "absent"], "absent: got no such directory"),
        (["generator", "--checkpoint", "BASE", "--target", "onnxruntime-cuda"], "got no such engine on this machine"),
        (
            ["generator", "--checkpoint", "BASE", "--target", "torch-cuda", "--engine", "openvino"],
            "got no such engine on this machine",
        ),
        (["repository", "--encoder", "absent", "--generator", "absent"], "absent: got no such directory"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, demo: DemoFiles, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    files = {"BASE": demo.base, "TRANSFER": demo.transfer, "ENCODER": demo.encoder, "ISF": demo.isf}
    code, _, err = command(*[files.get(argument, argument) for argument in arguments])
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "Traceback" not in err
    assert list(tmp_path.rglob("*.onnx")) == []


def test_a_live_blend_is_one_model_of_both_networks(command: Command) -> None:
    code, out, _ = command("blend", "--live", "--resolution", "64", "--engine", "onnxruntime")
    assert code == 0
    assert "build/live_64: generator live_64, onnxruntime fp32, verified against PyTorch" in out
    manifest = read_manifest(Path("build/live_64"))
    assert manifest.live is not None
    assert manifest.live.default == (1, 1, 1, 0, 0)


def test_a_live_blend_of_three_networks_names_the_transferred_ones(command: Command, tmp_path: Path) -> None:
    base = random_generator(16, {4: 8, 8: 8, 16: 8})
    models = [base, random_sibling(base, 1), random_sibling(base, 2)]
    files = [tmp_path / f"{name}.safetensors" for name in ("ffhq", "cartoon", "an anime")]
    for model, path in zip(models, files, strict=True):
        write_generator_safetensors(model, path)
    parents = ("--base", files[0], "--transfer", files[1], "--model", files[2])
    code, _, err = command("blend", "--live", *parents, "--r-swap", "8", "--engine", "onnxruntime")
    assert code == 0, err
    manifest = read_manifest(Path("build/live"))
    assert manifest.transferred_models == ("cartoon", "an-anime")
    assert manifest.default_blend == (1, 0, 1, 0, 0, 0)
    assert [source.role for source in manifest.sources] == ["base", "transfer", "transfer"]
    code, _, err = command("blend", "--live", *parents, "--model", tmp_path / "ffhq.safetensors", "--force")
    assert code == 1
    assert "the same synthesis weights in both" in err


@pytest.mark.parametrize("arguments", [["unknown"], ["blend", "--precision", "fp12"], ["convert", "one"]])
def test_wrong_usage_exits_with_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments)[0] == 2


def test_several_blends_are_one_call(command: Command) -> None:
    code, out, err = command("blend", "--r-swap", "16,64", "--schedule", "sigmoid:32,1", "--output", "models")
    assert code == 0
    names = ["blend_r16", "blend_r64", "blend_sigmoid-32-1"]
    assert sorted(path.name for path in Path("models").iterdir()) == names
    assert "blending blend_r64, 2 of 3" in err
    assert err.count("cosine similarity") == 1
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0] for line in lines] == [f"models/{n}" for n in names]
    assert read_manifest(Path("models/blend_r64")).details["blend"]["schedule"] == "--r-swap 64"
    again, _, err = command("blend", "--r-swap", "32,64", "--output", "models")
    assert again == 1
    assert "already there" in err
    assert not Path("models/blend_r32").exists(), "all outputs are checked before any work"


def test_a_dry_run_prints_every_layers_shares_and_writes_nothing(command: Command) -> None:
    code, out, _ = command("blend", "--r-swap", "16", "--dry-run", "--source-licence", "CC0", "--source-licence", "MIT")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["16.conv", "0", "1"] in lines
    assert ["32.up", "1", "0"] in lines
    assert "licences: base.pt: CC0, transfer.pt: MIT" in out
    assert "engines to try: " in out
    assert not Path("build").exists()


def test_programs_read_what_was_exported_as_a_line_of_json_for_each_model(command: Command) -> None:
    code, out, err = command("blend", "--r-swap", "16,64", "--output", "models", "--json")
    assert code == 0
    assert "No checkpoint given" in err
    results = [json.loads(line) for line in out.splitlines()]
    assert [result.pop("directory") for result in results] == ["models/blend_r16", "models/blend_r64"]
    assert results == [json.loads(Path(f"models/blend_r{r}/manifest.json").read_bytes()) for r in (16, 64)]


def test_programs_read_a_dry_run_as_json(command: Command) -> None:
    code, out, _ = command("blend", "--r-swap", "16", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["directory"], plan["resolution"], plan["licences"]) == ("build/blend_r16", 256, ["not stated"] * 2)
    assert plan["blend"]["shares"]["16.conv"] == [0, 1]
    assert "onnxruntime fp32" in plan["engines"]


def test_what_needs_no_pytorch_does_not_load_it(demo: DemoFiles, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    calls = {
        "--help": 0,
        "blend --help": 0,
        "--version": 0,
        f"inspect {demo.base}": 0,
        "blend --r-swap 16 --dry-run": 0,
        f"encoder --checkpoint {tmp_path / 'bad.pt'}": 1,
        "generator --target tensorrt": 1,
        f"repository --encoder {tmp_path} --generator {tmp_path}": 1,
    }
    script = tmp_path / "modules.py"
    script.write_text(
        "import sys\nfrom export import cli\ncode = 0\n"
        "try:\n    cli.main()\nexcept SystemExit as left:\n    code = left.code or 0\n"
        "loaded = {'torch', 'aiohttp', 'av'} & sys.modules.keys()\n"
        "print(code, *sorted(loaded), file=sys.stderr)\n"
    )
    for arguments, code in calls.items():
        call = [sys.executable, str(script), *arguments.split()]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == str(code), arguments + done.stderr


def test_an_output_that_is_there_is_kept(command: Command, demo: DemoFiles) -> None:
    kept = Path("build/kept")
    kept.mkdir(parents=True)
    (kept / "mine.txt").write_text("mine")
    code, _, err = command("generator", "--checkpoint", demo.base, "--output", kept)
    assert code == 1
    assert "already there" in err
    assert [path.name for path in kept.iterdir()] == ["mine.txt"]


@pytest.fixture
def repository_command(
    command: Command, tiny_model_directories: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Combine the tiny models as if one were in half precision, so that all are verified together."""
    monkeypatch.setattr(end_to_end, "all_float32", lambda models: False)
    models = tiny_model_directories
    generators = ("--generator", models.generators["plain"], "--generator", models.live)
    fixed = ("repository", "--encoder", models.encoder, "--isf", models.isf, *generators)
    return lambda *options: command(*fixed, *options)


def test_the_error_of_all_models_together_is_reported(repository_command: Command) -> None:
    code, out, _ = repository_command()
    assert code == 0
    for name in ("plain", "live"):
        assert f"from face to picture of {name}, against float32: worst error 0" in out
    assert Path("build/model_repository/toonify/config.pbtxt").is_file()
    code, out, _ = repository_command("--json", "--force")
    assert code == 0
    assert json.loads(out)["repository"] == "build/model_repository"
    assert json.loads(out)["end_to_end"]["plain"]["worst"] == 0


def test_models_whose_errors_add_up_to_visible_ones_are_refused(
    repository_command: Command, tiny_model_directories: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators = tiny_model_directories.generators

    def load(directory: Path) -> Engine:
        return engine_from_directory(generators["inverse"] if directory == generators["plain"] else directory)

    monkeypatch.setattr(end_to_end, "engine_from_directory", load)
    code, _, err = repository_command()
    assert code == 1
    assert "together: got worst error" in err.replace("\n", " ")
    assert not Path("build").exists()


def test_models_that_do_not_fit_are_refused_before_their_pictures_are_compared(
    command: Command,
    tiny_model_directories: TinyModels,
    demo: DemoFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(end_to_end, "all_float32", lambda models: False)
    larger = write_generator(tmp_path / "larger", "larger", Sizes(resolution=64, w_dim=16))
    code, _, err = command("repository", "--encoder", tiny_model_directories.encoder, "--generator", larger)
    assert code == 1
    assert "serve models of different sizes from different repositories" in err
