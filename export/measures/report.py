"""The report of measurements: a page in Markdown, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from export.measures.measuring import DIVERSITY_SAMPLES, PATH_FACES, Figure, Sample
from export.measures.perception import EPSILON, PATH_STEPS

DEFINITIONS = {
    "reconstruction": "Faces of --faces through encoder and generator, compared at the smaller side of the two.",
    "against the first": f"Pictures of the same seeds by this generator and by the first, up to {PATH_FACES}.",
    "PSNR": "In dB, of 8-bit pictures.",
    "SSIM": "Wang et al. 2004, on RGB, with a Gaussian window of 1.5 pixels.",
    "FID": "Frechet distance of Inception's 2048 features of random faces and of the pictures of --real (Heusel et al. "
    "2017), resized as clean-fid does. It falls with n: compare only figures of the same n.",
    "PPL": f"StyleGAN2's: LPIPS / e^2 of steps e = {EPSILON:g} in W at the paths' ends, whole pictures reduced to 256, "
    "without the lowest and highest percent (Karras et al. 2020).",
    "mAcc": "Share of random faces in which the classifier sees the edited attribute's target, after a flip of what it "
    "saw before; the row of the mean is the paper's mAcc (Liu et al., ISF-GAN).",
    "others kept": "Share of the attributes that an edit does not name and that the classifier sees unchanged.",
    "FRS": "Mean cosine of a face-recognition network's vectors before and after the edit (ISF-GAN, appendix A).",
    "PPL of edits": f"Mean of LPIPS / e^2 over {PATH_STEPS} steps e = 1/{PATH_STEPS} from w to w' (ISF-GAN, "
    "equations 11 to 13).",
    "PIR": "(longest - shortest step) / (LPIPS of the path's ends + 1e-6), of the same paths.",
    "diversity": f"Mean LPIPS of the pairs of {DIVERSITY_SAMPLES} edits of one face with different z.",
}
"""What each measure is, by the beginning or end of its name."""


@dataclass(frozen=True)
class Measurements:
    """All that was measured.

    Attributes:
        inputs: the paths that were given, by option.
        sample: which random faces were drawn.
        generators: the figures of each generator, by name.
        left_out: what could not be measured, each with what to give.
    """

    inputs: Mapping[str, Sequence[str]]
    sample: Sample
    generators: Mapping[str, Sequence[Figure]]
    left_out: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        """Return everything, with the definitions of the measures."""
        return {
            "inputs": {option: [*paths] for option, paths in self.inputs.items()},
            "sample": asdict(self.sample),
            "generators": [
                {"name": name, "figures": [asdict(figure) for figure in with_means(figures)]}
                for name, figures in self.generators.items()
            ],
            "left_out": dict(self.left_out),
            "definitions": {name: DEFINITIONS[name] for name in self._used_definitions()},
        }

    def page(self) -> str:
        """Return the page in Markdown."""
        sample = self.sample
        lines = [
            "# Measures",
            "",
            f"Random faces: seeds {sample.seed} to {sample.seed + sample.count - 1}, psi {sample.psi:g}.",
            "",
            *(f"- --{option}: {', '.join(paths)}" for option, paths in self.inputs.items()),
            "",
            *self._table(),
            "",
            *(f"- **{name}**: {DEFINITIONS[name]}" for name in self._used_definitions()),
        ]
        if self.left_out:
            lines += ["", "Left out:", "", *(f"- {name}: give {remedy}" for name, remedy in self.left_out.items())]
        return "\n".join(lines) + "\n"

    def _table(self) -> list[str]:
        columns = [{_key(figure): figure for figure in with_means(figures)} for figures in self.generators.values()]
        rows = dict.fromkeys(key for column in columns for key in column)
        lines = [f"| measure | n | {' | '.join(self.generators)} |", f"|---|--:|{'--:|' * len(columns)}"]
        for key in rows:
            figures = [column.get(key) for column in columns]
            n = next(figure.n for figure in figures if figure)
            cells = ("" if figure is None else _cell(figure) for figure in figures)
            lines.append(f"| {': '.join(filter(None, key))} | {n} | {' | '.join(cells)} |")
        return lines

    def _used_definitions(self) -> list[str]:
        names = {figure.measure for figures in self.generators.values() for figure in figures}
        return [key for key in DEFINITIONS if any(key in _parts(name) for name in names)]


def with_means(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures, and the mean of each measure of edits over the attributes, which are counted alike."""
    by_measure: dict[str, list[float]] = {}
    for figure in figures:
        if figure.attribute and figure.value is not None:
            by_measure.setdefault(figure.measure, []).append(figure.value)
    counts = {figure.measure: figure.n for figure in figures}
    means = (
        Figure(measure, "mean", sum(values) / len(values), counts[measure])
        for measure, values in by_measure.items()
        if len(values) > 1
    )
    return [*figures, *means]


def _key(figure: Figure) -> tuple[str, str | None]:
    return figure.measure, figure.attribute


def _parts(measure: str) -> set[str]:
    """The names of ``DEFINITIONS`` in a measure's name, such as "reconstruction: PSNR, 5th percentile"."""
    where, colon, what = measure.partition(": ")
    return {where, what.partition(",")[0]} if colon else {measure}


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "equal pictures"
    if figure.measure in ("mAcc", "others kept"):
        return f"{100 * figure.value:.1f} %"
    return f"{figure.value:.4g}"
