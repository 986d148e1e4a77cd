"""Writes checkpoints in the layouts of the official projects, for tests."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deterministic_weights import Array, Shape, encoder_value, generator_value, isf_value, state_dict

from export.weights import GeneratorWeights, Tensors

DATA = Path(__file__).parents[1] / "data"

_NARROW = {512: 10, 256: 8, 128: 6, 64: 4, 32: 2, 16: 2, 8: 1}


@cache
def official_shapes(file: str) -> dict[str, Shape]:
    """Tensor names and shapes of a recorded official network."""
    with np.load(DATA / file) as recorded:
        return {name: tuple(shape) for name, shape in json.loads(str(recorded["keys"])).items()}


def torch_tensors(arrays: Mapping[str, Array], dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()}


def rosinality_state(seed: str = "public", width: int = 8) -> dict[str, Array]:
    """A state dict in rosinality's layout: a 32x32 generator with ``width`` channels and as many numbers in w."""
    shapes = official_shapes("ros32_public.npz")
    narrow = {name: tuple(width if n == 512 else n for n in shape) for name, shape in shapes.items()}
    return state_dict(seed, narrow, generator_value)


@cache
def encoder_state() -> dict[str, Array]:
    """The state dict of a narrow pSp or e4e encoder with 18 heads."""
    shapes = official_shapes("psp_public.npz")
    return state_dict("public", {k: tuple(_NARROW.get(n, n) for n in s) for k, s in shapes.items()}, encoder_value)


def encoder_checkpoint(**changes: Any) -> dict[str, Any]:
    """An e4e checkpoint with a decoder; ``changes`` replace its entries."""
    state = {f"encoder.{name}": value for name, value in encoder_state().items()}
    state |= {f"decoder.{name}": value for name, value in rosinality_state().items()}
    latent_avg = torch.arange(10.0).repeat(18, 1)
    opts = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True, "device": "cuda:0"}
    return {"state_dict": torch_tensors(state), "latent_avg": latent_avg, "opts": opts} | changes


def isf_state(heads: int = 18, *, norm: str = "adaln", pre_norm: bool = True, attributes: int = 4) -> dict[str, Array]:
    """The state dict of an ISF head of width 16, in any of its variants."""
    width, inputs = 16, 64 + attributes
    shapes: dict[str, Shape] = {}

    def add(name: str, *shape: int) -> None:
        shapes[f"w_net.{name}.weight"], shapes[f"w_net.{name}.bias"] = shape, shape[:1]

    add("z_net.shared.0", width, inputs)
    for linear in (3, 6, 9) if pre_norm else (2, 5, 8):
        add(f"z_net.shared.{linear}", width, width)
        add(f"z_net.shared.{linear - 1 if pre_norm else linear + 2}", width)
    for head in range(heads):
        for i in (0, 2, 4):
            add(f"z_net.unshared.{head}.{i}", width, width)
    if norm != "none":
        add("adain.fc", 2 * width, width)
    if norm == "adaln":
        add("adain.norm", width)
    for linear in (1, 4, 7) if pre_norm else (0, 3, 6):
        add(f"fc.{linear}", width, width)
    for layer_norm in (0, 3, 6) if pre_norm else (2, 5):
        add(f"fc.{layer_norm}", width)
    return state_dict("public", shapes, isf_value)


def saved(path: Path, content: object, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def assert_same(actual: Tensors, expected: Tensors) -> None:
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert array.dtype == np.float32, name
        assert array.flags.c_contiguous, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name, strict=True)


@contextmanager
def official_modules(**classes: object) -> Iterator[None]:
    """Make objects importable under their ``__module__``, as pickling them needs, for the length of the block."""
    added: dict[str, types.ModuleType] = {}
    for thing in classes.values():
        parts = str(thing.__module__).split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            added.setdefault(name, types.ModuleType(name))
        setattr(added[thing.__module__], thing.__qualname__, thing)  # type: ignore[attr-defined]
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def _reconstruct_persistent_obj(meta: object) -> None:
    raise AssertionError("the stand-in for NVIDIA's loader was called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class NvModule:
    """An object that pickles as a module of NVIDIA's persistence layer does."""

    def __init__(self, name: str, tensors: Mapping[str, Array] | None = None, **state: Any) -> None:
        parameters = torch_tensors(tensors or {})
        modules = {key: value for key, value in state.items() if isinstance(value, NvModule)}
        state = {key: value for key, value in state.items() if key not in modules}
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise RuntimeError('embedded source must never run')",
            "class_name": name,
            "state": {"_parameters": parameters, "_buffers": {}, "_modules": modules, **state},
        }

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object]]:
        return _reconstruct_persistent_obj, (self.meta,)


def nvlabs_pickle(weights: GeneratorWeights, **changes: Any) -> bytes:
    """A stylegan2-ada-pytorch checkpoint of ``weights``; ``changes`` are the options of ``nvlabs_generator``."""
    return pickled_modules({"G": None, "D": None, "G_ema": nvlabs_generator(weights, **changes)})


def pickled_modules(content: object) -> bytes:
    """``content`` with NvModules in it, pickled as NVIDIA's PyTorch code pickles its modules."""
    with official_modules(reconstruct=_reconstruct_persistent_obj):
        return pickle.dumps(content, protocol=4)


def nvlabs_generator(
    weights: GeneratorWeights,
    *,
    architecture: str = "skip",
    conv_clamp: Mapping[int, float] | None = None,
    fp16_from: int = 4096,
    use_noise: bool = True,
    fir: Array | None = None,
    synthesis_modules: Mapping[str, NvModule] | None = None,
    c_dim: int = 0,
    embedding: tuple[Array, Array] | None = None,
    bias_gain: float = 0.01,
) -> NvModule:
    """``embedding`` holds the weight [E, C] and the bias [E] of a conditional generator's embedding of labels."""
    fir = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64 if fir is None else fir
    clamps = conv_clamp or dict.fromkeys(weights.resolutions, weights.conv_clamp)

    def part(prefix: str) -> dict[str, Array]:
        return {
            name.removeprefix(prefix): array
            for name, array in weights.tensors.items()
            if name.startswith(prefix) and "." not in name.removeprefix(prefix)
        }

    def layer(r: int, kind: str) -> NvModule:
        own = part(f"synthesis.{r}.{kind}.")
        if kind == "rgb":
            own["weight"] = own["weight"][:, :, None, None]
        elif use_noise:
            own |= {"noise_const": own.pop("noise"), "resample_filter": fir}
        else:
            own = {"weight": own["weight"], "bias": own["bias"]}
        affine = NvModule("FullyConnectedLayer", part(f"synthesis.{r}.{kind}.affine."), bias_gain=1)
        return NvModule("SynthesisLayer", own, affine=affine, conv_clamp=clamps[r], use_noise=use_noise)

    def block(r: int) -> NvModule:
        layers = {"conv1": layer(r, "conv"), "torgb": layer(r, "rgb")} | ({"conv0": layer(r, "up")} if r > 4 else {})
        own = {"resample_filter": fir} | ({"const": weights.tensors["synthesis.4.const"]} if r == 4 else {})
        return NvModule("SynthesisBlock", own, architecture=architecture, use_fp16=r >= fp16_from, **layers)

    blocks = {f"b{r}": block(r) for r in weights.resolutions} | dict(synthesis_modules or {})
    layers = {
        f"fc{i}": NvModule("FullyConnectedLayer", part(f"mapping.{i}."), bias_gain=bias_gain)
        for i in range(weights.mapping_depth)
    }
    if embedding:
        own = dict(zip(("weight", "bias"), embedding, strict=True))
        layers["embed"] = NvModule("FullyConnectedLayer", own, bias_gain=1, activation="linear")
    mapping = NvModule("MappingNetwork", part("mapping."), c_dim=c_dim, **layers)
    synthesis = NvModule("SynthesisNetwork", {}, **blocks)
    return NvModule("Generator", {}, c_dim=c_dim, mapping=mapping, synthesis=synthesis)


class Network:
    """An object that pickles as ``dnnlib.tflib.network.Network`` does."""

    def __init__(self, variables: Mapping[str, Array], **state: Any) -> None:
        self.state = {"version": 4, "build_module_src": "raise RuntimeError('embedded source must never run')", **state}
        # TensorFlow's session returns a variable of shape [] as a NumPy scalar, not as an array.
        self.state["variables"] = [(name, array[()]) for name, array in variables.items()]

    def __getstate__(self) -> dict[str, Any]:
        return self.state


Network.__module__ = "dnnlib.tflib.network"


class EasyDict(dict[str, Any]):
    pass


EasyDict.__module__ = "dnnlib.util"


def tensorflow_pickle(weights: GeneratorWeights, protocol: int = 4, **changes: Any) -> bytes:
    """An official TensorFlow checkpoint of ``weights``; ``changes`` are the options of ``tensorflow_network``."""
    return pickled_networks((None, None, tensorflow_network(weights, **changes)), protocol)


def pickled_networks(content: object, protocol: int = 4) -> bytes:
    """``content`` with Networks in it, pickled as the TensorFlow code pickles them."""
    with official_modules(network=Network, easy_dict=EasyDict):
        return pickle.dumps(content, protocol=protocol)


def tensorflow_network(
    weights: GeneratorWeights,
    *,
    use_noise: bool = True,
    more_variables: Mapping[str, Array] | None = None,
    embedding: tuple[Array, Array] | None = None,
    **static_kwargs: Any,
) -> Network:
    tensors = weights.tensors
    mapping: dict[str, Array] = {}
    for i in range(weights.mapping_depth):
        mapping[f"Dense{i}/weight"] = tensors[f"mapping.{i}.weight"].T
        mapping[f"Dense{i}/bias"] = tensors[f"mapping.{i}.bias"]
    if embedding:
        mapping |= {"LabelEmbed/weight": embedding[0].T, "LabelEmbed/bias": embedding[1]}
    synthesis = {"4x4/Const/const": tensors["synthesis.4.const"][None]}
    for level, r in enumerate(weights.resolutions, start=2):
        synthesis |= _tensorflow_layer(tensors, r, "rgb", "ToRGB")
        synthesis |= _tensorflow_layer(tensors, r, "conv", "Conv1" if r > 4 else "Conv")
        synthesis[f"noise{2 * level - 4}"] = tensors[f"synthesis.{r}.conv.noise"][None, None]
        if r > 4:
            synthesis |= _tensorflow_layer(tensors, r, "up", "Conv0_up")
            synthesis[f"noise{2 * level - 5}"] = tensors[f"synthesis.{r}.up.noise"][None, None]
    if not use_noise:
        synthesis = {name: array for name, array in synthesis.items() if not name.endswith("noise_strength")}
    components = EasyDict(mapping=Network(mapping), synthesis=Network(synthesis | dict(more_variables or {})))
    average = {"dlatent_avg": tensors["mapping.w_avg"]} if "mapping.w_avg" in tensors else {}
    top = {"lod": np.float32(0), **average}
    return Network(top, components=components, static_kwargs=EasyDict(static_kwargs))


def _tensorflow_layer(tensors: Mapping[str, Array], r: int, kind: str, module: str) -> dict[str, Array]:
    own = {part: tensors.get(f"synthesis.{r}.{kind}.{part}") for part in ("weight", "bias", "noise_strength")}
    weight = own["weight"]
    assert weight is not None
    weight = weight[:, :, None, None] if kind == "rgb" else weight[:, :, ::-1, ::-1] if kind == "up" else weight
    own |= {"weight": weight.transpose(2, 3, 1, 0)}
    own["mod_weight"] = tensors[f"synthesis.{r}.{kind}.affine.weight"].T
    own["mod_bias"] = tensors[f"synthesis.{r}.{kind}.affine.bias"] - np.float32(1)
    return {f"{r}x{r}/{module}/{part}": array for part, array in own.items() if array is not None}


def torch_zip(
    data_pkl: bytes, members: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A zip archive in the layout of ``torch.save``, around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        for name, content in {"version": b"3\n", **(members or {})}.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


class RawStorage:
    """A storage of a torch file that claims to have ``count`` elements."""

    def __init__(self, key: str, count: int, kind: object = torch.FloatStorage) -> None:
        self.persistent_id = ("storage", kind, key, "cpu", count)


class RawTensor:
    """A view of a storage as a torch file describes it; it need not be valid."""

    def __init__(self, storage: RawStorage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class _TorchPickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, views: tuple[None, ...]) -> None:
        super().__init__(buffer, protocol=2)
        self.views = views

    def persistent_id(self, obj: object) -> object:
        return (*obj.persistent_id, *self.views) if isinstance(obj, RawStorage) else None


def torch_pickle(content: object, *, legacy: bool = False) -> bytes:
    """The pickle of a torch file; in the legacy format a storage's id has one more entry, which is None."""
    buffer = io.BytesIO()
    _TorchPickler(buffer, (None,) if legacy else ()).dump(content)
    return buffer.getvalue()


def torch_legacy(
    data_pkl: bytes, storages: Mapping[str, bytes] | None = None, counts: Mapping[str, int] | None = None
) -> bytes:
    """A file in torch's legacy format; ``counts`` replaces the numbers of elements before the storages' bytes."""
    storages, counts = storages or {}, counts or {}
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    blocks = [struct.pack("<q", counts.get(key, len(data) // 4)) + data for key, data in storages.items()]
    pickles = [*(pickle.dumps(part, 2) for part in header), data_pkl, pickle.dumps(list(storages), 2)]
    return b"".join(pickles + blocks)
