"""The paths from which measures are taken."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from engines.contract.errors import RequestError
from export.weights import EncoderKind


@dataclass(frozen=True)
class Inputs:
    """The paths that the command was given, under the names of its options; an option that is left out is empty.

    ``lpips``: the file of the network, and that of its heads.
    """

    generator: tuple[Path, ...] = ()
    encoder: Path | None = None
    first_encoder: Path | None = None
    isf: Path | None = None
    classifier: Path | None = None
    faces: Path | None = None
    real: Path | None = None
    lpips: tuple[Path, Path] | None = None
    face_recognition: Path | None = None
    inception: Path | None = None

    def given(self) -> dict[str, list[str]]:
        """Return the paths that are there, by option."""
        values = {each.name.replace("_", "-"): getattr(self, each.name) for each in fields(self)}
        return {name: [*map(str, v if isinstance(v, tuple) else (v,))] for name, v in values.items() if v}

    def check(self) -> None:
        """Raise RequestError about a path that needs another one."""
        if bool(self.inception) != bool(self.real):
            raise RequestError(
                "--inception and --real", got="one of them", expected="both or neither", remedy="give the other too"
            )
        if len({path.resolve() for path in self.generator}) < len(self.generator):
            raise RequestError(
                "--generator", got="one model twice", expected="each once", remedy="leave the others out"
            )
        models = (self.encoder, self.isf, self.classifier)
        if any(models) and not self.generator:
            raise RequestError("--generator", got="none", expected="one or more", remedy="give what draws the pictures")
        if self.faces and not self.encoder and self.generator:
            raise RequestError("--faces", got="no --encoder", expected="the encoder of the faces", remedy="give it")
        if self.first_encoder and (self.encoder is None or self.encoder.is_dir()):
            got = "a model directory as --encoder" if self.encoder else "no --encoder"
            raise RequestError("--first-encoder", got=got, expected="ReStyle's checkpoint", remedy="leave it out")
        if self.classifier and not self.isf:
            raise RequestError("--classifier", got="no --isf", expected="the head of the edits", remedy="give it")


@dataclass(frozen=True)
class Unrecorded:
    """What checkpoints may not record: see ``read_generator``, ``read_encoder`` and ``read_isf``."""

    label: int | None = None
    kind: EncoderKind | None = None
    attributes: tuple[str, ...] | None = None
    residual: bool = False

    def check(self, inputs: Inputs) -> None:
        """Raise RequestError about an option that no checkpoint among the inputs needs."""
        options = {
            "--label": (self.label is not None, inputs.generator),
            "--kind": (self.kind, (inputs.encoder,)),
            "--attributes": (self.attributes, (inputs.isf,)),
            "--residual": (self.residual, (inputs.isf,)),
        }
        for option, (given, paths) in options.items():
            if given and all(path is None or path.is_dir() for path in paths):
                raise RequestError(
                    option,
                    got="no checkpoint that it is about",
                    expected="one, since model directories record it",
                    remedy="leave it out",
                )
