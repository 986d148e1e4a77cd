"""Inert stand-ins for the classes and functions that checkpoints name, and the allow-list of those names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from export.checkpoints.pickles import Inert, StandIn, Stateful, checked_key
from export.checkpoints.stored_tensors import (
    ELEMENTS,
    Element,
    ReadContext,
    Storage,
    StoredTensor,
    checked_sizes,
    clipped,
)

_NO_SIZE = np.dtype("V0")

_DICTS = (
    "addict.addict.Dict",
    "collections.OrderedDict",
    "dnnlib.util.EasyDict",
    "easydict.EasyDict",
    "munch.Munch",
    "torch_utils.misc.EasyDict",
    "yacs.config.CfgNode",
)
_NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
"""Classes that hold a training run's options, of which an encoder's kind is read."""

_BESIDE = (
    "collections.Counter",
    "copyreg._reconstructor",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy.random._generator.Generator",
    "numpy.random._mt19937.MT19937",
    "numpy.random._pcg64.PCG64",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random.bit_generator.SeedSequence",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    "numpy.random.mtrand.RandomState",
    *(f"numpy.{name}" for name in ("float16", "float32", "float64", "int32", "int64", "uint8")),
    *(
        f"pathlib{home}.{kind}Path"
        for home in ("", "._local")
        for kind in ("Posix", "Windows", "PurePosix", "PureWindows")
    ),
    "random.Random",
    "torch.Generator",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
)
"""What training runs keep beside weights and options: device, time, paths, states of random numbers."""


class OrderedDict(dict[Any, Any], Stateful):
    """Stand-in for ``collections.OrderedDict`` and dicts like it; a state dict's ``_metadata`` is dropped."""

    def __init__(self, pairs: object = ()) -> None:
        """Python 2 wrote an OrderedDict as a list of pairs."""
        super().__init__((checked_key(key), value) for key, value in map(_pair, _expect_type(list | tuple, pairs)))

    def set_state(self, state: object) -> None:
        pass


class Deque(list[Any], Stateful):
    """Stand-in for ``collections.deque``, whose greatest length is dropped."""

    def __init__(self, items: object = (), _: object = None) -> None:
        super().__init__(_expect_type(list | tuple, items))

    def set_state(self, state: object) -> None:
        pass


class DefaultDict(OrderedDict):
    """Stand-in for ``collections.defaultdict``, whose factory is dropped."""

    def __init__(self, _: object = None, pairs: object = ()) -> None:
        super().__init__(pairs)


class Namespace(dict[Any, Any], Stateful):
    """Stand-in for ``argparse.Namespace`` and objects like it, which hold the options of a training run."""

    def __init__(self) -> None:
        super().__init__()

    def set_state(self, state: object) -> None:
        self.update(_expect_type(dict, state))


@dataclass(frozen=True)
class NvObject:
    """Stand-in for an object of NVIDIA's persistence layer: class name and attributes; the source code is dropped."""

    class_name: str
    state: dict[str, Any]


class TfNetwork(Stateful):
    """Stand-in for ``dnnlib.tflib.network.Network`` of the TensorFlow code; the source code in it is dropped."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def set_state(self, state: object) -> None:
        self.state = _expect_type(dict, state)


class Parameter(StoredTensor, Stateful):
    """Stand-in for a ``torch.nn.Parameter`` as torch stored it before version 0.4; its state holds no numbers."""

    def __init__(self, data: object, *_: object) -> None:
        tensor = _expect_type(StoredTensor, data)
        super().__init__(tensor.storage, tensor._offset, tensor.shape, tensor._strides, tensor.element)

    def set_state(self, state: object) -> None: ...


class NumpyType(Stateful):
    """Stand-in for ``numpy.dtype``, which would accept an unchecked state."""

    def __init__(self, code: object, *_: object) -> None:
        self._code: str = _expect_type(str, code)
        self._order = "<"

    def set_state(self, state: object) -> None:
        self._order = _expect_type(str, _expect_type(tuple, state)[1])

    @property
    def element(self) -> Element:
        """The type of the numbers; one that no weights have, such as that of a random state, has no size."""
        for element in ELEMENTS.values():
            if element.numpy.str[1:] == self._code and element.name != "bfloat16" and self._order in ("<", "|", "="):
                return element
        return Element(f"NumPy's type {clipped(self._order + self._code)}", _NO_SIZE)


class NumpyArray(StoredTensor, Stateful):
    """Stand-in for ``numpy.ndarray``; it becomes a tensor when its state is set."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        super().__init__(Storage(context, ELEMENTS["float32"], 0, memoryview(b"")), 0, (0,), (1,))

    def set_state(self, state: object) -> None:
        _, shape, number_type, fortran, raw = _expect_type(tuple, state)
        # Protocols 0 to 2 hold the bytes as latin-1 text if Python 2 wrote them.
        self.view(raw.encode("latin-1") if isinstance(raw, str) else raw, number_type, shape, fortran)

    def view(self, raw: object, number_type: object, shape: object, fortran: object) -> None:
        element = _expect_type(NumpyType, number_type).element
        if element.numpy == _NO_SIZE:
            super().__init__(Storage(self._context, element, 0, memoryview(b"")), 0, (0,), (1,))
            return
        data = memoryview(_expect_type((bytes, bytearray), raw))
        lengths = checked_sizes(self._context, shape)
        storage = Storage(self._context, element, data.nbytes, data)
        super().__init__(storage, 0, lengths, _contiguous_strides(lengths, fortran=bool(fortran)))

    def transpose(self, axes: object) -> None:
        """Reorder the axes as ``numpy.transpose`` does."""
        if self.element.numpy == _NO_SIZE:
            return
        order = [_expect_type(int, axis) for axis in _expect_type(tuple, axes)]
        if sorted(order) != [*range(len(self.shape))]:
            raise ValueError(f"axes {clipped(str(order))} of an array with {len(self.shape)} axes")
        self.shape = tuple(self.shape[axis] for axis in order)
        self._strides = tuple(self._strides[axis] for axis in order)


def stand_ins(context: ReadContext) -> dict[str, object]:
    """Return the allow-list: a StandIn or a constant for each full name."""
    table: dict[str, object] = {
        **dict.fromkeys(_DICTS, StandIn(OrderedDict)),
        **dict.fromkeys(_NAMESPACES, StandIn(Namespace)),
        **dict.fromkeys(_BESIDE, StandIn(Inert)),
        **_builtins(),
        "collections.defaultdict": StandIn(DefaultDict),
        "collections.deque": StandIn(Deque),
        "_codecs.encode": StandIn(lambda text, _: _expect_type(str, text).encode("latin-1")),
        "numpy.dtype": StandIn(NumpyType),
        "numpy.ndarray": None,
        "torch._utils._rebuild_tensor": StandIn(_tensor),
        "torch._utils._rebuild_tensor_v2": StandIn(_tensor),
        "torch._utils._rebuild_tensor_v3": StandIn(_tensor_of_type),
        "torch._utils._rebuild_parameter": StandIn(lambda data, *_: data),
        "torch._utils._rebuild_parameter_with_state": StandIn(lambda data, *_: data),
        "torch.nn.parameter.Parameter": StandIn(Parameter),
        "torch_utils.persistence._reconstruct_persistent_obj": StandIn(_nv_object),
        "dnnlib.tflib.network.Network": StandIn(TfNetwork),
    }
    for numpy_core in ("numpy.core", "numpy._core"):
        table[f"{numpy_core}.multiarray.scalar"] = StandIn(lambda kind, raw: _scalar(context, kind, raw))
        table[f"{numpy_core}.multiarray._reconstruct"] = StandIn(lambda *_: NumpyArray(context))
        table[f"{numpy_core}.numeric._frombuffer"] = StandIn(lambda *state: _array(context, *state))
    return table | _torch_types()


def _builtins() -> dict[str, object]:
    """Python's own types under their names of Python 3 and 2: a defaultdict names the type of its entries."""
    types = ("bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "slice", "str")
    table: dict[str, object] = dict.fromkeys((*types, "tuple", "long", "unicode", "xrange"), StandIn(Inert))
    table["set"] = StandIn(_set)
    return {f"{module}.{name}": value for module in ("builtins", "__builtin__") for name, value in table.items()}


def _torch_types() -> dict[str, object]:
    storages = {
        "Float": "float32",
        "Half": "float16",
        "Double": "float64",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
    }
    untyped = ("torch.storage.UntypedStorage", "torch.UntypedStorage", "torch._UntypedStorage")
    return {
        **{f"torch.{name}Storage": ELEMENTS[element] for name, element in storages.items()},
        **{f"torch.{name}": element for name, element in ELEMENTS.items()},
        **dict.fromkeys(untyped, ELEMENTS["uint8"]),
    }


def _contiguous_strides(shape: tuple[int, ...], *, fortran: bool) -> tuple[int, ...]:
    steps = list(accumulate((shape if fortran else shape[::-1]), mul, initial=1))[: len(shape)]
    return tuple(steps if fortran else steps[::-1])


def _expect_type(kind: Any, value: object) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} in place of another type")
    return value


def _pair(item: object) -> tuple[object, object]:
    key, value = _expect_type(list | tuple, item)
    return key, value


def _set(items: object = ()) -> set[object]:
    return set(map(checked_key, _expect_type(list | tuple, items)))


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> StoredTensor:
    return StoredTensor(_expect_type(Storage, storage), offset, shape, strides)


def _tensor_of_type(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    grad: object,
    hooks: object,
    kind: object,
    *_: object,
) -> StoredTensor:
    return StoredTensor(_expect_type(Storage, storage), offset, shape, strides, _expect_type(Element, kind))


def _nv_object(meta: object) -> NvObject:
    fields = _expect_type(dict, meta)
    return NvObject(_expect_type(str, fields["class_name"]), _expect_type(dict, fields["state"]))


def _array(
    context: ReadContext, raw: object, number_type: object, shape: object, order: object, axes: object = None
) -> NumpyArray:
    """Stand-in for ``_frombuffer``, by which protocol 5 stores arrays. NumPy 2.3 and later keep any order of axes."""
    array = NumpyArray(context)
    array.view(raw, number_type, shape, order == "F")
    if order == "K":
        array.transpose(axes)
    return array


def _scalar(context: ReadContext, number_type: object, raw: object) -> float | Inert:
    array = _array(context, raw, number_type, (1,), "C")
    element = array.element.numpy
    if element == _NO_SIZE:
        return Inert()
    return np.frombuffer(array.storage.data, element)[0].item()  # type: ignore[no-any-return]
