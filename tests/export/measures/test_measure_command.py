"""``toonify-export measure``: engines side by side, a checkpoint, what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import rosinality_state, saved, torch_tensors
from export_command import Command
from lpips_files import write_lpips
from tiny_models import TinyModels, expected_pictures, expected_samples

from export.demo_models.files import DemoFiles
from export.measures.attributes import edit_accuracy
from export.measures.pictures import resized
from export.parity import parity
from serving.condition import z_from_seed
from serving.faces.images import write_picture


def by_measure(report: dict[str, object], number: int = 0) -> dict[tuple[str, str | None], float | None]:
    """The figures of one generator of a report."""
    figures = report["generators"][number]["figures"]  # type: ignore[index]
    return {(figure["measure"], figure["attribute"]): figure["value"] for figure in figures}


def test_two_generators_are_measured_side_by_side(
    command: Command, tiny_model_directories: TinyModels, tmp_path: Path
) -> None:
    tiny = tiny_model_directories
    faces = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    for index, face in enumerate(faces):
        write_picture(tmp_path / f"faces/{index}.png", face)
    network, heads = write_lpips(tmp_path, "alexnet")
    models = ["--encoder", tiny.encoder, "--isf", tiny.isf, "--classifier", tiny.classifier, "--faces", "faces"]
    generators = ["--generator", tiny.generators["plain"], "--generator", tiny.generators["inverse"]]
    options = ["--lpips", network, heads, "--count", 3, "--seed", 5, "--json", "-o", "report.md"]
    code, out, _ = command("measure", *generators, *models, *options)
    assert code == 0
    report = json.loads(out)
    assert report["sample"] == {"count": 3, "seed": 5, "psi": 1.0}
    plain, inverse = by_measure(report), by_measure(report, 1)

    small = resized(faces, 32)
    errors = [parity(a, b).psnr for a, b in zip(small, expected_pictures(faces), strict=True)]
    assert plain["reconstruction: PSNR", None] == pytest.approx(np.mean(errors))
    samples = expected_samples([5, 6, 7]), expected_samples([5, 6, 7], gain=-1)
    between = np.mean([parity(a, b).psnr for a, b in zip(*samples, strict=True)])
    assert inverse["against the first: PSNR", None] == pytest.approx(between)
    assert ("against the first: PSNR", None) not in plain

    # The tiny models' edit moves every number of w alike: (sum of the target + z[0]) / 4.
    shown = resized(samples[0], 256)[:, 0, :2, 1] > 127.5
    for index, name in enumerate(("age", "smile")):
        target = shown.astype(np.float32)
        target[:, index] = 1 - target[:, index]
        noise = np.float32([z_from_seed(seed, 4)[0] for seed in (5, 6, 7)])
        edited = expected_samples([5, 6, 7], shift=(target.sum(1) + noise)[:, None, None] / 4)
        probabilities = resized(edited, 256)[:, 0, :2, 1].astype(np.float32) / 255
        assert plain["mAcc", name] == edit_accuracy(probabilities, target, index)[0]
    assert plain["mAcc", "mean"] == pytest.approx((plain["mAcc", "age"] + plain["mAcc", "smile"]) / 2)
    assert plain["diversity", "age"] > 0
    assert plain["PPL of edits", "age"] > 0
    assert set(report["left_out"]) == {"FID", "FRS", "PPL of an engine"}

    page = Path("report.md").read_text()
    assert "| measure | n | plain (onnxruntime fp32) | inverse (onnxruntime fp32) |" in page
    assert "Random faces: seeds 5 to 7, psi 1." in page
    assert "- FID: give --inception and --real" in page


def test_a_generators_checkpoint_alone_has_its_ppl(command: Command, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "ffhq.pt", {"g_ema": torch_tensors(rosinality_state())})
    network, heads = write_lpips(tmp_path, "alexnet")
    options = ["--lpips", network, heads, "--count", 4, "-o", "report.json"]
    code, out, _ = command("measure", "--generator", checkpoint, *options)
    assert code == 0
    report = json.loads(Path("report.json").read_text())
    assert by_measure(report)["PPL", None] > 0
    assert list(report["definitions"]) == ["PPL"]
    assert set(report["left_out"]) == {
        "reconstruction (PSNR, SSIM)",
        "FID",
        "edits (mAcc, FRS, PPL, PIR, diversity)",
    }
    assert "| PPL | 4 |" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--inception", "a.pth"], "--inception and --real: got one of them"),
        (["--encoder", "a.pt"], "--generator: got none, expected one or more"),
        (["--generator", "a.pt", "--faces", "f"], "--faces: got no --encoder"),
        (["--generator", "a.pt", "--first-encoder", "b.pt"], "--first-encoder: got no --encoder, expected ReStyle's"),
        (
            ["--generator", "a.pt", "--encoder", "ENCODER", "--first-encoder", "b.pt"],
            "--first-encoder: got a model directory as --encoder",
        ),
        (["--generator", "a.pt", "--classifier", "c"], "--classifier: got no --isf"),
        (["-o", "report.txt"], "report.txt: got the suffix '.txt', expected .md or .json"),
        (["--generator", "a.pt"], "a.pt: got No such file or directory"),
        (["--generator", "ENCODER"], "a model directory of component encoder, expected generator"),
        (
            ["--generator", "DEMO", "--isf", "ISF", "--count", 2],
            "--isf: got codes of 8 rows of 16, expected 14 rows of 46",
        ),
        (["--generator", "DEMO", "--encoder", "ENCODER", "--faces", "faces"], "--encoder: got codes of 8 rows of 16"),
        (["--generator", "PLAIN", "--isf", "DEMO_ISF", "--classifier", "CLASSIFIER"], "got a classifier of age, smile"),
        (["--generator", "SMALL"], "got a generator without a mapping network"),
        (["--generator", "PLAIN", "--generator", "PLAIN"], "--generator: got one model twice"),
        (["--generator", "PLAIN", "--psi", "nan"], "--psi: got nan, expected a finite number"),
        (["--generator", "PLAIN", "--label", 1], "--label: got no checkpoint that it is about"),
        (["--generator", "PLAIN", "--encoder", "ENCODER", "--kind", "psp"], "--kind: got no checkpoint"),
        (["--generator", "PLAIN", "--isf", "ISF", "--attributes", "a,b"], "--attributes: got no checkpoint"),
        (["--generator", "PLAIN", "--residual"], "--residual: got no checkpoint"),
        (
            ["--generator", "PLAIN", "--encoder", "ENCODER", "--faces", "wide"],
            "got a picture of 40x20, expected a square",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    command: Command, tiny_model_directories: TinyModels, tmp_path: Path, arguments: list[object], sentence: str
) -> None:
    tiny = tiny_model_directories
    write_picture(tmp_path / "wide/face.png", np.zeros((20, 40, 3), np.uint8))
    write_picture(tmp_path / "faces/face.png", np.zeros((40, 40, 3), np.uint8))
    paths = {"ENCODER": tiny.encoder, "SMALL": tiny.generators["small"], "PLAIN": tiny.generators["plain"]}
    paths |= {"CLASSIFIER": tiny.classifier, "DEMO_ISF": DemoFiles().isf, "DEMO": DemoFiles().base, "ISF": tiny.isf}
    code, out, err = command("measure", *(paths.get(str(argument), argument) for argument in arguments))
    assert (code, out) == (1, "")
    assert sentence in err
    assert ": random faces" not in err  # nothing was measured in vain
    assert not list(tmp_path.glob("report*"))
