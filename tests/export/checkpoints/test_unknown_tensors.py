"""A tensor that no reader knows, put into every dict of every kind of file: its part is named, or the file refused."""

from __future__ import annotations

import argparse
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import (
    Network,
    NvModule,
    encoder_checkpoint,
    isf_state,
    nvlabs_generator,
    pickled_modules,
    pickled_networks,
    rosinality_state,
    saved,
    tensorflow_network,
    torch_tensors,
    written,
)
from deterministic_weights import discriminator_value, state_dict
from generators import random_generator
from safetensors.numpy import save_file
from stylegan1_files import genforce_state, interfacegan_state, tensorflow_network_of, variables

from engines.contract.errors import CheckpointError
from export.checkpoints import (
    read_classifier,
    read_encoder,
    read_generator,
    read_isf,
)

GENERATOR = random_generator(8, 2, w_dim=4)
STYLEGAN1 = variables(channels={4: 2, 8: 2}, depth=1)
NAME = "unknown"

Content = Any
Read = Callable[[Path], Any]


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its content, how it is written, how it is read, and an unknown tensor."""

    content: Callable[[], Content]
    write: Callable[[Path, Content], object]
    read: Read
    unknown: Content


def rosinality() -> Content:
    state = torch_tensors(rosinality_state(width=2))
    return {"g": {"conv1.bias": torch.zeros(2)}, "g_ema": state, "latent_avg": torch.zeros(2), "g_optim": {"state": {}}}


def isf() -> Content:
    return {"mapnet": torch_tensors(isf_state(2)), "discriminator": torch_tensors(discriminator())}


def discriminator() -> dict[str, Any]:
    shapes: dict[str, tuple[int, ...]] = {"main.0.weight": (4, 3, 3, 3), "main.0.bias": (4,)}
    for block in range(1, 7):
        for conv in ("conv1", "conv2"):
            shapes |= {f"main.{block}.{conv}.weight": (4, 4, 3, 3), f"main.{block}.{conv}.bias": (4,)}
    shapes |= {"out_cls.1.weight": (4, 4, 4, 4), "out_cls.1.bias": (4,)}
    shapes |= {"out_cls.3.weight": (4, 4, 1, 1), "out_cls.3.bias": (4,), "out_src.1.weight": (1, 4, 4, 4)}
    return state_dict("public", shapes, discriminator_value)


def write_safetensors(path: Path, content: Content) -> None:
    save_file(content["tensors"], path, content["metadata"])


def own_safetensors() -> Content:
    options = '{"conv_clamp": null, "fp16_from": null, "notes": []}'
    return {"tensors": dict(GENERATOR.tensors), "metadata": {"format": "toonify-serve generator 1", "options": options}}


def torch_file(path: Path, content: Content) -> None:
    saved(path, content)


TORCH, NUMPY = torch.zeros(2), np.zeros(2, np.float32)

KINDS = {
    "rosinality": FileKind(rosinality, torch_file, read_generator, TORCH),
    "bare state dict": FileKind(lambda: torch_tensors(rosinality_state(width=2)), torch_file, read_generator, TORCH),
    "encoder": FileKind(encoder_checkpoint, torch_file, read_encoder, TORCH),
    "decoder": FileKind(lambda: encoder_checkpoint(latent_avg=None), torch_file, read_generator, TORCH),
    "isf": FileKind(isf, torch_file, read_isf, TORCH),
    "classifier": FileKind(isf, torch_file, read_classifier, TORCH),
    "genforce": FileKind(
        lambda: {"generator_smooth": torch_tensors(genforce_state(STYLEGAN1))}, torch_file, read_generator, TORCH
    ),
    "interfacegan": FileKind(lambda: torch_tensors(interfacegan_state(STYLEGAN1)), torch_file, read_generator, TORCH),
    "nvlabs": FileKind(
        lambda: {"G_ema": nvlabs_generator(GENERATOR)},
        lambda path, content: written(path, pickled_modules(content)),
        read_generator,
        TORCH,
    ),
    "tensorflow": FileKind(
        lambda: [None, None, tensorflow_network(GENERATOR)],
        lambda path, content: written(path, pickled_networks(tuple(content))),
        read_generator,
        NUMPY,
    ),
    "tensorflow stylegan1": FileKind(
        lambda: [None, None, tensorflow_network_of(STYLEGAN1)],
        lambda path, content: written(path, pickled_networks(tuple(content))),
        read_generator,
        NUMPY,
    ),
    "safetensors": FileKind(own_safetensors, write_safetensors, read_generator, NUMPY),
}


def places(content: Content, path: str = "file") -> Iterator[tuple[str, Content]]:
    """Every dict within the content, and every list of a TensorFlow network's variables, by its place."""
    if isinstance(content, NvModule):
        content = content.meta["state"]
    if isinstance(content, Network):
        content = content.state
    if isinstance(content, dict):
        yield path, content
        children: Any = content.items()
    elif isinstance(content, list):
        if content and isinstance(content[0], tuple):
            yield path, content
            return
        children = enumerate(content)
    else:
        return
    for key, child in children:
        yield from places(child, f"{path}.{key}")


def put(place: Content, unknown: Content) -> None:
    if isinstance(place, dict):
        place[NAME] = unknown
    else:
        place.append((NAME, unknown))


def left_out(kind: FileKind, content: Content, file: Path) -> dict[str, int]:
    """How many tensors of each part were left out, by the part's name."""
    kind.write(file, content)
    lines = kind.read(file).source.left_out
    matches = [re.fullmatch(r"(\S+) \((\d+) tensors?\): \S.*", line) for line in lines]
    return {match[1]: int(match[2]) for match in matches if match}


def check_named_or_refused(kind: FileKind, content: Content, file: Path, without: dict[str, int]) -> None:
    """Check that the error names the tensor, or that a part that was left out has one tensor more."""
    try:
        parts, sentence = left_out(kind, content, file), ""
    except CheckpointError as error:
        parts, sentence = {}, str(error)
    assert NAME in sentence or sum(parts.values()) == sum(without.values()) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_tensor_is_named_or_refused_wherever_it_lies(tmp_path: Path, kind: str) -> None:
    one = KINDS[kind]
    without = left_out(one, one.content(), tmp_path / "network")
    for number, (place, _) in enumerate(places(one.content())):
        if kind == "safetensors" and place != "file.tensors":
            continue
        content = one.content()
        put([target for _, target in places(content)][number], one.unknown)
        check_named_or_refused(one, content, tmp_path / "network", without)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensor: [tensor],
        lambda tensor: {"a": (1, {"b": tensor})},
        lambda tensor: argparse.Namespace(a=tensor),
        lambda tensor: deque([tensor], maxlen=3),
        lambda tensor: torch.nn.Parameter(tensor),
    ],
    ids=["list", "nested", "namespace", "deque", "parameter"],
)
def test_an_unknown_tensor_within_something_is_named_or_refused(tmp_path: Path, wrap: Callable[..., Any]) -> None:
    for kind in (KINDS["rosinality"], KINDS["isf"], KINDS["encoder"]):
        without = left_out(kind, kind.content(), tmp_path / "network")
        content = kind.content()
        put(content, wrap(kind.unknown))
        check_named_or_refused(kind, content, tmp_path / "network", without)
