"""Objects that training runs keep in a checkpoint beside its weights."""

from __future__ import annotations

import argparse
import pathlib
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime, timedelta

import numpy as np
import torch

BAGGAGE: dict[str, object] = {
    "device": torch.device("cuda:0"),
    "size": torch.Size([1, 2]),
    "layout": torch.strided,
    "type of numbers": np.float32,
    "defaultdict of lists": defaultdict(list, {"loss": [1.0, 2.0]}),
    "defaultdict of dicts": defaultdict(OrderedDict, {"a": OrderedDict(b=1)}),
    "nested options": argparse.Namespace(device=torch.device("cpu"), tags=frozenset({"a", 1})),
    "simple namespace": types.SimpleNamespace(lr=1e-3),
    "counter": Counter("abca"),
    "deque": deque([1, 2, 3], maxlen=5),
    "path": pathlib.PurePosixPath("runs/1"),
    "windows path": pathlib.PureWindowsPath("C:/runs"),
    "time": datetime(2024, 2, 3, 4, 5),
    "duration": timedelta(seconds=5),
    "range": range(3),
    "slice": slice(1, 2),
    "random state of Python": random.getstate(),
    "random state of NumPy": np.random.RandomState(0).get_state(),
    "random numbers of NumPy": np.random.RandomState(0),
    "new random numbers of NumPy": np.random.default_rng(0),
    "random state of torch": torch.get_rng_state(),
    "array of objects": np.array([1, None], dtype=object),
    "array of text": np.array(["a", "b"]),
    "array of times": np.array(["2024-01-01"], "datetime64[D]"),
    "array of big-endian numbers": np.arange(3.0).astype(">f4"),
    "array of complex numbers": np.ones(3, np.complex64),
    "text of NumPy": np.str_("a"),
    "number of NumPy": np.uint32(7),
}
