"""Names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module


def lazy_names(
    package: str, names: Collection[str], modules: Mapping[str, str], others: str
) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        names: the names that it offers.
        modules: the module of each name.
        others: the module of the names that are not in ``modules``.
    """

    def load(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules.get(name, others)), name)

    return load
