"""What a library raises about a model, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from engines.contract.errors import EngineError, ToonifyError
from engines.contract.tensors import Signature, TensorSpec


@contextmanager
def library_errors(
    library: str, model: str, *, remedy: str, passed_on: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Raise EngineError instead of what a library raises while it loads or runs a model.

    The library's message remains as the error's cause: it names the library's source lines, not what a user can do.

    Args:
        library: the library's name.
        model: the model's name.
        remedy: the remedy in the error.
        passed_on: exceptions that say nothing about the model and stay as they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (ToonifyError, *passed_on)):
            raise
        refused = "too little memory for it" if isinstance(error, MemoryError) else "a model that it refuses"
        raise EngineError(
            f"{model} in {library}",
            got=refused,
            expected="one that toonify-export wrote for it",
            remedy=remedy,
        ) from error


def check_model_tensors(
    model: str,
    signature: Signature,
    inputs: Sequence[tuple[str, str, Sequence[object]]],
    outputs: Sequence[tuple[str, str, Sequence[object]]],
) -> None:
    """Compare the tensors that a library found in a model with its signature, so that no request is the first to fail.

    Args:
        model: the model's name.
        signature: the model's signature.
        inputs: the name, NumPy's name of the type, and the shape of each input; a size that is no number is any size.
        outputs: the same for each output.

    Raises:
        EngineError: a tensor is missing or unknown, or has another type or shape.
    """
    for kind, got, expected in (("inputs", inputs, signature.inputs), ("outputs", outputs, signature.outputs)):
        names = {name: (dtype, shape) for name, dtype, shape in got}
        fitting = [spec.name for spec in expected if spec.name in names and _fits(spec, *names[spec.name])]
        if len(fitting) < len(expected) or len(got) > len(expected):
            found = ", ".join(f"{name} {dtype} {[*shape]}" for name, dtype, shape in got)
            raise EngineError(
                model,
                got=f"the {kind} {found or 'none':.500}",
                expected=", ".join(map(str, expected)),
                remedy="export the model again with this version of the package",
            )


def _fits(spec: TensorSpec, dtype: str, shape: Sequence[object]) -> bool:
    sizes = [(own, got) for own, got in zip(spec.dims, shape[1:], strict=False) if isinstance(got, int)]
    return (
        dtype == spec.dtype.numpy.name
        and len(shape) == 1 + len(spec.dims)
        and all(own in (-1, got) for own, got in sizes)
    )
