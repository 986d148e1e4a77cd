"""Weights of networks: named float32 arrays, and the sizes that follow from them.

Checkpoint readers return them, blending combines them, and the PyTorch networks load them by the same names.

The tensors of a StyleGAN2 generator (r = 4, 8, ..., R; ``up`` only for r >= 8; O, I output and input channels; D width
of w):

    mapping.{i}.weight [D, D]                 raw, as stored: the run-time factor 0.01 is not applied
    mapping.{i}.bias [D]
    mapping.w_avg [D]                         may be absent
    synthesis.4.const [I, 4, 4]
    synthesis.{r}.{up,conv}.weight [O, I, 3, 3]
    synthesis.{r}.{up,conv}.bias [O]
    synthesis.{r}.{up,conv}.affine.weight [I, D], .affine.bias [I]        the "+1" is in the bias
    synthesis.{r}.{up,conv}.noise_strength []
    synthesis.{r}.{up,conv}.noise [r, r]
    synthesis.{r}.rgb.weight [3, I], .bias [3], .affine.weight [I, D], .affine.bias [I]

Those of a StyleGAN1 generator (``up`` also for r = 4, where it is the constant and has no weight of its own):

    mapping.*, synthesis.4.const              as above; the biases of the mapping network are divided by sqrt 2, since
                                              StyleGAN1 has its activation's gain in the weights alone
    synthesis.{r}.{up,conv}.weight [O, I, 3, 3]   of a correlation; for ``up`` with the pixels of the input repeated
    synthesis.{r}.{up,conv}.bias [O]
    synthesis.{r}.{up,conv}.affine.weight [2 O, D], .affine.bias [2 O]    scales, whose "+1" is in the bias, then shifts
    synthesis.{r}.{up,conv}.noise_strength [O]
    synthesis.{r}.{up,conv}.noise [r, r]
    synthesis.{R}.rgb.weight [3, I], .bias [3]    only at the highest resolution

The tensors of an encoder and of an ISF head keep the names of the official checkpoints, without prefixes, but for the
stem of a ResNet-34; see ``export.networks.trunk``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.contract.tensors import rows_of

Array = NDArray[np.float32]
Tensors = Mapping[str, Array]

EncoderKind = Literal["psp", "e4e"]
"""Whether rows are independent (pSp) or offsets from the first one (e4e)."""
Trunk = Literal["irse50", "resnet34"]
"""The residual network that reads the face."""
Heads = Literal["pyramid", "last", "one", "all"]
"""How the codes are read from the trunk's maps, see ``EncoderWeights.heads``."""

STAGE_UNITS: Mapping[Trunk, tuple[int, int, int, int]] = {"irse50": (3, 4, 14, 3), "resnet34": (3, 4, 6, 3)}
"""Residual units in each stage of an encoder's trunk."""

POOLED = 7
"""Side to which an encoder of all rows by one layer averages the trunk's last map."""


Architecture = Literal["StyleGAN1", "StyleGAN2"]


def trunk_of(names: Container[str]) -> Trunk:
    """Return the trunk of an encoder whose tensors have these names."""
    return "resnet34" if "body.0.conv1.weight" in names else "irse50"


def architecture_of(names: Container[str]) -> Architecture:
    """Return the architecture of a generator whose tensors have these names."""
    return "StyleGAN1" if "synthesis.4.up.affine.weight" in names else "StyleGAN2"


def row_of(resolution: int, layer: str) -> int:
    """Return the row of W+ that modulates a StyleGAN2's ``up``, ``conv`` or ``rgb``.

    toRGB shares its row with the next ``up``.
    """
    level = resolution.bit_length() - 1
    return max(2 * level - 5 + ("up", "conv", "rgb").index(layer), 0)


@dataclass(frozen=True)
class Source:
    """The checkpoint from which weights were read.

    ``left_out`` names the parts of the file that were not used, each with its reason.
    """

    path: Path
    format: str
    sha256: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeneratorWeights:
    """A generator: StyleGAN2 with skip connections (configurations E and F), or StyleGAN1, of any channel schedule.

    ``fp16_from`` is the lowest resolution whose blocks ran in float16 in training, or None if the file does not record
    it.
    """

    tensors: Tensors
    source: Source
    conv_clamp: float | None = None
    notes: tuple[str, ...] = ()
    fp16_from: int | None = None

    @property
    def architecture(self) -> Architecture:
        return architecture_of(self.tensors)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions 4, 8, ..., R of the layers."""
        return tuple(sorted({int(name.split(".")[1]) for name in self.tensors if name.startswith("synthesis.")}))

    @property
    def resolution(self) -> int:
        return self.resolutions[-1]

    @property
    def picture_sizes(self) -> tuple[int, ...]:
        """The resolutions at which there is a toRGB, whose output is a picture."""
        return tuple(r for r in self.resolutions if f"synthesis.{r}.rgb.weight" in self.tensors)

    @property
    def channels(self) -> dict[int, int]:
        """Number of channels of the activation at each resolution."""
        return {r: int(self.tensors[f"synthesis.{r}.conv.weight"].shape[0]) for r in self.resolutions}

    @property
    def w_dim(self) -> int:
        return int(self.tensors["synthesis.4.conv.affine.weight"].shape[1])

    @property
    def z_dim(self) -> int:
        """Width of z; 0 if the mapping network is absent."""
        return int(self.tensors["mapping.0.weight"].shape[1]) if self.mapping_depth else 0

    @property
    def mapping_depth(self) -> int:
        """Number of layers of the mapping network; 0 if it is absent."""
        return sum(name.startswith("mapping.") and name.endswith(".weight") for name in self.tensors)

    @property
    def rows(self) -> int:
        return rows_of(self.resolution)


@dataclass(frozen=True)
class EncoderWeights:
    """An encoder with its average latent, float32 [L, D]; zeros if the encoder was trained without one.

    ``kind`` states whether rows are independent (pSp) or offsets from the first (e4e). ReStyle's runs with a
    ``decoder``, whose picture of the last step's code is part of the next step's input, and takes ``steps``; with
    ``first``, they correct the code of another encoder instead of the average latent.
    """

    tensors: Tensors
    source: Source
    kind: EncoderKind
    latent_avg: Array
    notes: tuple[str, ...] = ()
    decoder: GeneratorWeights | None = None
    steps: int = 1
    first: FirstStep | None = None

    @property
    def rows(self) -> int:
        return len(self.latent_avg)

    @property
    def w_dim(self) -> int:
        return int(self.latent_avg.shape[1])

    @property
    def corrects(self) -> bool:
        """Whether it is ReStyle's, which reads a picture beside the face, in 6 channels."""
        return self.tensors["input_layer.0.weight"].shape[1] == 6

    @property
    def trunk(self) -> Trunk:
        return trunk_of(self.tensors)

    @property
    def heads(self) -> Heads:
        """Whether heads read a pyramid or the last map, or there is one code for all rows or one layer for them all."""
        if "styles.0.linear.weight" in self.tensors:
            return "pyramid" if "latlayer1.weight" in self.tensors else "last"
        return "all" if "output_layer_2.0.weight" in self.tensors else "one"

    @property
    def architecture(self) -> str:
        """The architecture in words, such as "ReStyle-e4e, IR-SE-50, heads on the last map"."""
        name = {"psp": "pSp", "e4e": "e4e"}[self.kind]
        heads = {
            "pyramid": "",
            "last": ", heads on the last map",
            "one": ", one code for all rows",
            "all": ", all rows by one layer",
        }
        trunk = {"irse50": "IR-SE-50", "resnet34": "ResNet-34"}[self.trunk]
        first = f", after {self.first.encoder.architecture}" if self.first else ""
        return f"{'ReStyle-' if self.corrects else ''}{name}, {trunk}{heads[self.heads]}{first}"


@dataclass(frozen=True)
class FirstStep:
    """The encoder whose code a ReStyle encoder corrects, and its decoder, without a mapping network.

    The paper calls it encoder bootstrapping. A ReStyle encoder in this place takes one step.
    """

    encoder: EncoderWeights
    decoder: GeneratorWeights


@dataclass(frozen=True)
class ClassifierWeights:
    """A classifier that tells which attributes an aligned face shows; tensors are named as in an ISF checkpoint."""

    tensors: Tensors
    source: Source
    attributes: tuple[str, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after the first convolution and after each residual block."""
        blocks = sum(name.startswith("main.") and name.endswith(".conv2.bias") for name in self.tensors)
        names = ("main.0.bias", *(f"main.{block}.conv2.bias" for block in range(1, blocks + 1)))
        return tuple(len(self.tensors[name]) for name in names)


@dataclass(frozen=True)
class DirectionWeights:
    """Linear directions of edits in W+, float32 [A, L, D]: a value x of attribute a adds x * directions[a] to a code.

    Each comes from the file of ``sources`` that stands in the same place.
    """

    directions: Array
    attributes: tuple[str, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class IsfWeights:
    """An ISF head (MappingNetwork of ISF-GAN); tensors are named as in its checkpoints, without ``module.``.

    ``rows`` is 1 for a head trained on W, which has one condition for all rows.
    """

    tensors: Tensors
    source: Source
    attributes: tuple[str, ...]
    residual: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def pre_norm(self) -> bool:
        return self.tensors["w_net.fc.0.weight"].ndim == 1

    @property
    def norm(self) -> Literal["adaln", "adain", "none"]:
        if "w_net.adain.norm.weight" in self.tensors:
            return "adaln"
        return "adain" if "w_net.adain.fc.weight" in self.tensors else "none"

    @property
    def rows(self) -> int:
        return len({n.split(".")[3] for n in self.tensors if n.startswith("w_net.z_net.unshared.")})

    @property
    def noise_size(self) -> int:
        return int(self.tensors["w_net.z_net.shared.0.weight"].shape[1]) - len(self.attributes)

    @property
    def w_dim(self) -> int:
        return int(self.tensors["w_net.z_net.shared.0.weight"].shape[0])
