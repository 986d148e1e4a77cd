"""A pickle machine that cannot run code from a file: it looks up the file's globals in a table of stand-ins.

Python's unpickler is not used. Even with ``find_class`` restricted it calls ``__setstate__`` and ``setattr`` on objects
that the file names, and a five-byte memo index makes it allocate gigabytes. ``pickletools`` decodes the opcodes; this
module executes the few that checkpoints use, on plain lists, dicts and tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickletools import genops
from sys import getsizeof
from typing import IO, Any, cast

from export.checkpoints.stored_tensors import ENTRY_BYTES, ReadContext, clipped

PersistentLoad = Callable[[object], object]


@dataclass(frozen=True)
class StandIn:
    """A function that is called instead of the class or function that a pickle names.

    It may copy its arguments, and what a dict, list or tuple among them holds, but nothing deeper: so much is charged.
    """

    build: Callable[..., object]


class Stateful:
    """An object whose state a pickle may set after the object is built (opcode BUILD).

    ``set_state`` may copy what a StandIn may copy of its arguments.
    """

    def set_state(self, state: object) -> None:
        raise NotImplementedError


class Inert(Stateful):
    """Something beside the weights that no reader looks at: its state and entries are dropped.

    It takes the arguments of whatever it stands for.
    """

    def __init__(self, *_: object) -> None: ...

    def set_state(self, state: object) -> None: ...


class ByteStream:
    """A forward-only reader of bytes in memory, which never allocates more than the bytes that are there."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> memoryview:
        """Return the next ``count`` bytes without a copy; fewer at the end."""
        chunk = self._data[self._position : self._position + count]
        self._position += len(chunk)
        return chunk

    def read(self, count: int) -> bytes:
        return bytes(self.take(count))

    def readline(self) -> bytes:
        # Modules and names are the only lines of text in a pickle since protocol 2.
        line, newline, _ = bytes(self._data[self._position : self._position + 1024]).partition(b"\n")
        if b"\\" in line:
            raise ValueError("a name with an escape sequence")
        return self.read(len(line) + len(newline))

    def tell(self) -> int:
        return self._position


def unpickle(
    stream: ByteStream,
    context: ReadContext,
    stand_ins: Mapping[str, object],
    persistent_load: PersistentLoad | None = None,
) -> object:
    """Read one pickle.

    Args:
        stream: the bytes; reading stops after the pickle's last byte.
        context: the file's name and its read budget.
        stand_ins: the object that replaces each global, by full name; a StandIn if the file may call the global.
        persistent_load: converts the persistent ids of torch's files to storages.

    Raises:
        CheckpointError: the pickle names another global, uses an opcode that checkpoints do not use, is damaged, or
            exceeds the read budget of ``context``.
    """
    try:
        return _Machine(context, stand_ins, persistent_load).run(stream)
    # Damaged bytes can make a stack machine raise any of these; CheckpointError is not among them and passes through.
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        raise context.error("a damaged or truncated pickle", expected="a whole pickle") from None


class _Machine:
    def __init__(
        self, context: ReadContext, stand_ins: Mapping[str, object], persistent_load: PersistentLoad | None
    ) -> None:
        self.context = context
        self.stand_ins = stand_ins
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []
        # By the index as text, for the reason that ``Number`` gives.
        self.memo: dict[str, object] = {}

    def run(self, stream: ByteStream) -> object:
        # genops calls only read, readline and tell.
        for operation, argument, _ in genops(cast(IO[bytes], stream)):
            self.context.spend_operation()
            handler = _HANDLERS.get(operation.name)
            if handler is None:
                raise self.context.error(
                    f"the pickle opcode {operation.name}", expected="only opcodes that checkpoints use"
                )
            handler(self, argument)
        return self.stack.pop()

    def push(self, value: object) -> None:
        self.stack.append(value)

    def push_integer(self, value: int) -> None:
        # Arithmetic on numbers of megabytes would take hours; torch's magic number has 77 bits.
        if value.bit_length() > 128:
            raise ValueError("an integer of more than 128 bits")
        self.push(value)

    def pop_last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is too short")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def mark(self) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer_stacks.pop()
        return items

    def append(self, items: list[Any]) -> None:
        if not self._last_is_inert():
            self._last(list).extend(items)

    def add(self, items: list[Any]) -> None:
        if not self._last_is_inert():
            self._last(set).update(map(checked_key, items))

    def set_items(self, items: list[Any]) -> None:
        if not self._last_is_inert():
            self._last(dict).update(_dict(items))

    def set_state(self) -> None:
        state = self.stack.pop()
        self._pay_for_copies(state if isinstance(state, tuple) else (state,))
        self._last(Stateful).set_state(state)

    def _last_is_inert(self) -> bool:
        return isinstance(self.stack[-1], Inert)

    def _last(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"a {type(self.stack[-1]).__name__} in place of a {kind.__name__}")
        return self.stack[-1]

    def push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global without a name")
        full_name = f"{module}.{name}"
        if full_name not in self.stand_ins:
            raise self.context.error(
                f"a pickle that asks for {clipped(full_name)[1:-1]}",
                expected="only the classes of StyleGAN2, pSp, e4e and ISF checkpoints, none of which is run",
                remedy="if you trust the file's origin, save only the model's state_dict() there",
            )
        self.push(self.stand_ins[full_name])

    def call(self) -> None:
        function, arguments = self.pop_last(2)
        if not isinstance(function, StandIn) or not isinstance(arguments, tuple):
            raise TypeError("a call of an object that is not a function")
        self._pay_for_copies(arguments)
        self.push(function.build(*arguments))

    def _pay_for_copies(self, values: tuple[object, ...]) -> None:
        # The length is paid for first, since the sum takes time too.
        self.context.spend_bytes(_size_of_copy(values))
        self.context.spend_bytes(sum(map(_size_of_copy, values)))

    def put(self, index: int) -> None:
        self.memo[str(index)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.push(self.memo[str(index)])

    def load_persistent(self) -> None:
        if self.persistent_load is None:
            raise ValueError("a persistent id outside a torch file")
        self.push(self.persistent_load(self.stack.pop()))


@dataclass(frozen=True, slots=True)
class Number:
    """A number as a key of a dict or a member of a set; no reader looks one up.

    Numbers whose hashes collide are easily found, and 20,000 of them make a dict take seconds. Text is hashed with a
    secret of the process.
    """

    text: str


def checked_key(value: object) -> str | bytes | Number | None:
    """Return a key of a dict, or a member of a set, that no file can make slow; a number becomes a ``Number``.

    Raises:
        TypeError: the value is of another type; the hash of a nested tuple may take exponential time.
    """
    if isinstance(value, int | float):
        return Number(repr(value))
    if not isinstance(value, str | bytes | None):
        raise TypeError(f"a key of type {type(value).__name__}")
    return value


def _size_of_copy(value: object) -> int:
    """An upper bound of the bytes that a copy of ``value`` takes, without copies of what it holds."""
    if isinstance(value, str | bytes | bytearray):
        return getsizeof(value)
    return ENTRY_BYTES * len(value) if isinstance(value, dict | list | tuple | set | frozenset) else 0


def _dict(items: list[Any]) -> dict[object, object]:
    return {checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


_Handler = Callable[[_Machine, Any], object]

_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4")
_STRINGS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")

# The opcodes of protocols 2 to 5, except those that create instances or look up objects in other ways.
_HANDLERS: dict[str, _Handler] = {
    **dict.fromkeys(_INTEGERS, _Machine.push_integer),
    **dict.fromkeys((*_STRINGS, *_BYTES, "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.call()),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "FROZENSET": lambda m, _: m.push(frozenset(map(checked_key, m.pop_to_mark()))),
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop_last(1),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop_last(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop_last(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop_last(3))),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_to_mark())),
    "APPEND": lambda m, _: m.append(m.pop_last(1)),
    "APPENDS": lambda m, _: m.append(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.add(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.set_items(m.pop_last(2)),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "BUILD": lambda m, _: m.set_state(),
    "GLOBAL": lambda m, names: m.push_global(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.push_global(*m.pop_last(2)),
    "BINPERSID": lambda m, _: m.load_persistent(),
}
