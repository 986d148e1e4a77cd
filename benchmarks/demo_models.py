"""``python -m benchmarks.demo_models``: measures the demo models; writes the figures, the tables and the pictures.

``results/demo_models.json`` holds the figures; the tables of the model card come from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.generated import with_section
from engines.contract.arrays import Picture
from engines.contract.tensors import ISF_ATTRIBUTES
from export.demo_models.domains import CARTOON, PHOTO
from export.demo_models.files import DIRECTORY, DemoFiles
from export.demo_models.isf_training import NOISE_SIZE
from export.demo_models.measure import R_SWAPS, blended, encoded, measure, rendered, synthesised
from export.demo_models.models import Models, load_models
from export.demo_models.sibling_training import SPLIT
from export.demo_models.traits import attributes_of, random_codes
from export.measures.subjects import measured_generator
from export.networks.generator import generator_from_weights
from serving.command_line import run
from serving.faces.images import write_picture
from serving.random_faces import z_of_seeds

Figures = dict[str, Any]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
FIGURES = RESULTS / "demo_models.json"
MODEL_CARD = DIRECTORY.parent / "README.md"

FACES = 200
SHOWN_SEED = 30_000_011
TILE = 128
SEEDS, PSI = 12, 0.7
"""How many random faces are shown, and the usual truncation of uncurated ones."""


def main(faces: Annotated[int, typer.Option(help="Held-out faces to measure on.")] = FACES) -> None:
    """Measure the demo models; write the figures, the tables and the pictures."""
    models = load_models(DemoFiles())
    figures = measure(models, faces).as_json()
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    for name, grid in grids(models).items():
        write_picture(RESULTS / f"demo_{name}.jpg", grid, force=True)
    write_tables()


def write_tables() -> None:
    """Bring the tables of the model card up to date."""
    section = tables(json.loads(FIGURES.read_text()))
    MODEL_CARD.write_text(with_section(MODEL_CARD.read_text(), "benchmarks.demo_models", section))


def tables(figures: Figures) -> str:
    """All tables, in Markdown."""
    edits = figures["edits"]
    shown = {"accuracy": "%", "kept": "%", "encoded_accuracy": "%", "encoded_kept": "%"}
    shown |= {"likeness": ".3f", "diversity": ".3f", "path_length": ".2f", "path_range": ".2f"}
    mean = {"attribute": "mean", **{name: np.mean([edit[name] for edit in edits]) for name in shown}}
    classifier = ", ".join(f"{name} {100 * share:.1f} %" for name, share in figures["classifier_accuracy"].items())
    return "\n".join([
        f"\n{figures['faces']} characters that are in no training set:\n",
        *_fidelity_table(figures),
        "",
        *_blend_table(figures),
        "",
        "| edit | accuracy (mAcc) | others kept | accuracy from photographs | others kept | likeness | diversity | PPL "
        "| PIR |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {edit['attribute']} | {' | '.join(_figure(edit[name], form) for name, form in shown.items())} |"
            for edit in (*edits, mean)
        ),
        "",
        f"The classifier is right about {classifier} of the renderings.",
        "",
    ])  # fmt: skip


def _figure(value: float, form: str) -> str:
    return f"{100 * value:.1f} %" if form == "%" else format(value, form)


def _fidelity_table(figures: Figures) -> list[str]:
    lines = [
        "| pictures | renderings | PSNR, dB | 5th percentile | SSIM | sharpness | distance |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in figures["fidelity"]:
        lines.append(
            f"| {row['pictures']} | {row['renderings']} | {row['psnr']:.1f} | {row['psnr_p5']:.1f} "
            f"| {row['ssim']:.3f} | {100 * row['sharpness']:.0f} % | {row['distance']:.3f} |"
        )
    return lines


def _blend_table(figures: Figures) -> list[str]:
    drawn = figures["drawn"]
    by_direction = {
        reverse: {b["r_swap"]: b for b in figures["blends"] if b["reverse"] is reverse} for reverse in (False, True)
    }
    lines = [
        "| r_swap | eye height | chin width | jaw width | outlines "
        "| eye height, `--reverse` | chin width | jaw width | outlines |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r_swap in R_SWAPS:
        cells = [text for reverse in (False, True) for text in _cells(by_direction[reverse][r_swap])]
        lines.append(f"| {r_swap} | {' | '.join(cells)} |")
    for name, values in drawn.items():
        cells = _cells({measure.replace(" ", "_"): value for measure, value in values.items()})
        lines.append(f"| rendered {name} | {' | '.join(cells)} | | | | |")
    return lines


def _cells(measures: Mapping[str, float]) -> list[str]:
    widths = [f"{measures[name]:.1f}" for name in ("eye_height", "chin_width", "jaw_width")]
    return [*widths, f"{measures['outline_strength']:z.2f}"]


def grids(models: Models) -> dict[str, Picture]:
    """The pictures by name: renderings through encoder and base, blends by r_swap, edits, and random faces."""
    codes = random_codes(6, SHOWN_SEED)
    photos = rendered(codes, PHOTO)
    base = generator_from_weights(models.base)
    w = encoded(models.encoder, photos)
    reconstructed = synthesised(base, w)
    return {
        "reconstruction": labelled({"rendered": photos, "encoder + base": reconstructed}),
        "blends": labelled({"rendered": photos, "base": reconstructed} | _blends(models, w) | {
            "rendered cartoon": rendered(codes, CARTOON)}),
        "edits": labelled({"rendered": photos, "base": reconstructed} | _edits(models, w, attributes_of(codes))),
        "random_faces": labelled(_random_faces(models)),
    }  # fmt: skip


def _blends(models: Models, w: torch.Tensor) -> dict[str, Picture]:
    return {
        f"r_swap {r_swap}{' reverse' if reverse else ''}": synthesised(blended(models, r_swap, reverse=reverse), w)
        for reverse in (False, True)
        for r_swap in R_SWAPS[1:-1]
    } | {"transfer": synthesised(blended(models, R_SWAPS[-1], reverse=False), w)}


def _edits(models: Models, w: torch.Tensor, source: NDArray[np.float32]) -> dict[str, Picture]:
    base = generator_from_weights(models.base)
    rows = {}
    for index, name in enumerate(ISF_ATTRIBUTES):
        target = source.copy()
        target[:, index] = 1 - target[:, index]
        for seed in (1, 2):
            z = torch.randn(1, NOISE_SIZE, generator=torch.Generator().manual_seed(seed)).expand(len(w), -1)
            with torch.no_grad():
                rows[f"{name}, z {seed}"] = synthesised(base, models.isf.edit(w, z, torch.from_numpy(target)))
    return rows


def _random_faces(models: Models) -> dict[str, Picture]:
    """The faces of the first seeds, uncurated: by the base, a blend and the transferred generator."""
    networks = {f"r_swap {r_swap}": blended(models, r_swap, reverse=False) for r_swap in (SPLIT, R_SWAPS[-1])}
    rows = {}
    for name, network in {"base": generator_from_weights(models.base), **networks}.items():
        generator = measured_generator(name, network)
        rows[name] = generator.draw(generator.map(z_of_seeds(range(SEEDS), generator.z_dim)), PSI)
    return rows


def labelled(rows: dict[str, Picture]) -> Picture:
    """One picture of all rows, each of pictures uint8 [N, R, R, 3], with the rows' names at the left."""
    return np.vstack([_row(name, pictures) for name, pictures in rows.items()])


def _row(name: str, pictures: Sequence[Picture] | Picture) -> Picture:
    label = np.full((TILE, 150, 3), 255, np.uint8)
    cv2.putText(label, name, (6, TILE // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    tiles = [cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.hstack([label, *tiles]).astype(np.uint8, copy=False)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
