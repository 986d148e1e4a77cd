"""The clients' operations, written once: each one yields the steps that it needs and receives their answers.

``serving.client.client`` and ``serving.client.async_client`` drive the same operations with tritonclient's blocking and
asyncio clients, whose methods have the same names and arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeVar

import numpy as np
from tritonclient.utils import InferenceServerException
from tritonclient.utils.shared_memory import SharedMemoryException

from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from engines.contract.errors import RequestError, ServerError, ToonifyError
from engines.contract.tensors import CODE_DISTANCE, DType
from serving.client.addresses import Addresses
from serving.client.calls import (
    JPEG_SUFFIX,
    Call,
    ServedModel,
    checked_ensemble,
    checked_mapping,
    code_calls,
    face_calls,
    filled_inputs,
    infer_inputs,
    joined,
    jpeg_calls,
    jpegs_from,
    output_of,
    requested_output,
    sample_calls,
    served_model_from_config,
    step_calls,
)
from serving.client.channel import Deadline
from serving.client.failures import (
    Asked,
    address_that_hung_up,
    encryption_expected,
    error_from_triton,
    refusal_of_shared_memory,
)
from serving.client.headers import Metadata
from serving.client.retries import Retries
from serving.client.shared_memory import SharedRegion
from serving.client.steps import Blocking, Operation, Pause, Rpc
from serving.client.tls import expects_tls
from serving.controls import Controls, GeneratorControls
from serving.random_faces import Seeds
from serving.requests import check_code_array, check_codes

T = TypeVar("T")

_log = logging.getLogger(__name__)

_RELEASE_SECONDS = 2.0

CLOSING_ATTEMPTS = 20
"""Attempts to release shared memory on closing; an attempt takes a fraction of a millisecond, as the server does."""


class Operations:
    """The state of one client: what it knows of the server, and how it asks."""

    def __init__(
        self, addresses: Addresses, metadata: Metadata, *, timeout: float, shared_memory: bool, encrypted: bool
    ) -> None:
        if shared_memory and addresses.several:
            raise RequestError(
                f"shared memory with {addresses.text}",
                got="several servers, of which the next one may not know the memory",
                expected="one server on this machine",
                remedy="give one address, or leave shared memory out",
            )
        self._url = addresses.text
        self._encrypted = encrypted
        self._metadata = metadata
        self._retries = Retries()
        self._timeout = timeout
        self._shared_memory = shared_memory
        self._cache: dict[str, ServedModel] = {}
        self._unreleased: set[str] = set()

    def toonify(self, faces: Pictures, model: str, timeout: float | None, controls: Controls) -> Operation[Pictures]:
        return (
            yield from self._run_ensemble(model, partial(face_calls, faces=faces, controls=controls), timeout, joined)
        )

    def toonify_jpeg(
        self, jpegs: bytes | Sequence[bytes], model: str, timeout: float | None, controls: Controls
    ) -> Operation[list[bytes]]:
        calls = partial(jpeg_calls, jpegs=[jpegs] if isinstance(jpegs, bytes) else jpegs, controls=controls)
        return (yield from self._run_ensemble(model + JPEG_SUFFIX, calls, timeout, jpegs_from))

    def encode(self, faces: Pictures, timeout: float | None) -> Operation[Codes]:
        return (yield from self._run_on_faces("encoder", faces, timeout))

    def encode_with_distance(
        self, faces: Pictures, model: str, timeout: float | None
    ) -> Operation[tuple[Codes, Distances | None]]:
        deadline = self._deadline(timeout)
        with self._evicted_on_error(model):
            guard = (yield from self._cached_ensemble(model, deadline)).encode
            if not guard:
                return (yield from self._run_on_faces("encoder", faces, deadline.remaining)), None
            calls = step_calls((yield from self._cached_model(guard, deadline)), {"face": _batch_of(faces)})
            answers = []
            for call in calls:
                answers.append((yield from self._infer_with_distance(call, deadline)))
        w, distances = zip(*answers, strict=True)
        return joined(w), joined(distances)[:, 0]

    def read_attributes(self, faces: Pictures, timeout: float | None) -> Operation[AnyArray]:
        return (yield from self._run_on_faces("classifier", faces, timeout))

    def render(self, w: Codes, model: str, timeout: float | None, controls: Controls) -> Operation[Pictures]:
        check_code_array(w)
        deadline = self._deadline(timeout)
        with self._evicted_on_error(model):
            ensemble = yield from self._cached_ensemble(model, deadline)
            generator = f"generator_{ensemble.parameters['generator']}"
            # Before the controls, whose sizes depend on the codes'; an ensemble does not tell their width.
            check_codes(w, (yield from self._cached_model(generator, deadline)).signature)
            inputs = {"w": w, **filled_inputs(ensemble, w, controls)}
            if controls.get("attributes") is not None:  # without attributes the ISF head passes w unchanged
                inputs["w"] = yield from self._run_step("isf", inputs, deadline)
            return (yield from self._run_step(generator, inputs, deadline))

    def sample(
        self, seeds: Seeds, model: str, timeout: float | None, controls: GeneratorControls
    ) -> Operation[Pictures]:
        deadline = self._deadline(timeout)
        with self._evicted_on_error(model):
            ensemble = yield from self._cached_ensemble(model, deadline)
            checked_mapping(ensemble)
            name = f"sample_{ensemble.parameters['generator']}"
            calls = partial(sample_calls, seeds=seeds, controls=controls, choices=ensemble.blend_choices)
            return joined((yield from self._run_calls(name, calls, deadline)))

    def sample_codes(self, seeds: Seeds, model: str, timeout: float | None) -> Operation[Codes]:
        deadline = self._deadline(timeout)
        with self._evicted_on_error(model):
            ensemble = yield from self._cached_ensemble(model, deadline)
            calls = partial(code_calls, seeds=seeds)
            return joined((yield from self._run_calls(checked_mapping(ensemble), calls, deadline)))

    def describe(self, model: str, timeout: float | None) -> Operation[ServedModel]:
        return checked_ensemble((yield from self._describe(model, self._deadline(timeout))))

    def models(self, timeout: float | None) -> Operation[tuple[str, ...]]:
        index = yield from self._ask("get_model_repository_index", "", self._deadline(timeout))
        names = sorted(model.name for model in index.models if model.state == "READY")
        return tuple(name for name in names if name.startswith("toonify") and not name.endswith(JPEG_SUFFIX))

    def is_ready(self, model: str, timeout: float | None) -> Operation[bool]:
        deadline = self._deadline(timeout)
        try:
            server = yield from self._ask("is_server_ready", "", deadline)
            return bool(server and (yield from self._ask("is_model_ready", model, deadline, model_name=model)))
        except (ServerError, RequestError):
            return False

    def release(self, attempts: int = 1) -> Operation[None]:
        """Unregister the shared memory of finished calls.

        The server refuses while it still uses a region: for a moment after every answer, and after an expired deadline
        until it has computed the abandoned request. Such a region is tried again after the next call and on closing.
        """
        deadline = Deadline(_RELEASE_SECONDS)
        for _ in range(attempts):
            for name in sorted(self._unreleased):
                with suppress(InferenceServerException):
                    yield self._rpc("unregister_system_shared_memory", deadline, name=name)
                    self._unreleased.discard(name)

    def _run_ensemble(
        self,
        model: str,
        calls: Callable[[ServedModel], list[Call]],
        timeout: float | None,
        result: Callable[[list[AnyArray]], T],
    ) -> Operation[T]:
        """Make an ensemble's calls with ``calls``, send them, and convert their outputs with ``result``."""
        deadline = self._deadline(timeout)
        with self._evicted_on_error(model):
            ensemble = yield from self._cached_ensemble(model, deadline)
            return result((yield from self._infer_all(calls(ensemble), deadline)))

    def _run_on_faces(self, model: str, faces: Pictures, timeout: float | None) -> Operation[AnyArray]:
        return (yield from self._run_step(model, {"face": _batch_of(faces)}, self._deadline(timeout)))

    def _run_step(self, model: str, tensors: Mapping[str, AnyArray], deadline: Deadline) -> Operation[AnyArray]:
        """Run one step of an ensemble with those of ``tensors`` that it takes, and return the step's output."""
        return joined((yield from self._run_calls(model, partial(step_calls, tensors=tensors), deadline)))

    def _run_calls(
        self, model: str, calls: Callable[[ServedModel], list[Call]], deadline: Deadline
    ) -> Operation[list[AnyArray]]:
        """Make a model's calls with ``calls``, and send them."""
        with self._evicted_on_error(model):
            return (yield from self._infer_all(calls((yield from self._cached_model(model, deadline))), deadline))

    def _infer_all(self, calls: Sequence[Call], deadline: Deadline) -> Operation[list[AnyArray]]:
        """Send the calls one after the other: a long list at once would fill the server's queue for all clients."""
        outputs = []
        for call in calls:
            outputs.append((yield from self._infer(call, deadline)))
        return outputs

    @contextmanager
    def _evicted_on_error(self, model: str) -> Iterator[None]:
        """Forget the model's description after an error: the server may have another model of this name by now."""
        try:
            yield
        except ToonifyError:
            self._cache.pop(model, None)
            raise

    def _cached_ensemble(self, model: str, deadline: Deadline) -> Operation[ServedModel]:
        return checked_ensemble((yield from self._cached_model(model, deadline)))

    def _cached_model(self, model: str, deadline: Deadline) -> Operation[ServedModel]:
        served = self._cache.get(model)
        if served is None:
            served = self._cache[model] = yield from self._describe(model, deadline)
        return served

    def _describe(self, model: str, deadline: Deadline) -> Operation[ServedModel]:
        answer = yield from self._ask("get_model_config", model, deadline, model_name=model)
        return served_model_from_config(answer.config)

    def _infer(self, call: Call, deadline: Deadline) -> Operation[AnyArray]:
        if self._shared_memory and call.output.dtype is not DType.BYTES:
            try:
                return (yield from self._infer_in_shared_memory(call, deadline))
            except SharedMemoryException as refusal:
                _log.warning("%s: no shared memory (%s), pictures are sent as bytes from now on", self._url, refusal)
                self._shared_memory = False
        inputs, outputs = infer_inputs(call.inputs), [requested_output(call)]
        result = yield from self._ask(
            "infer", call.model, deadline, model_name=call.model, inputs=inputs, outputs=outputs
        )
        return output_of(call, result)

    def _infer_with_distance(self, call: Call, deadline: Deadline) -> Operation[tuple[Codes, AnyArray]]:
        """Infer codes and how far out they lay, [N, 1]; both are small."""
        wanted = (call, replace(call, output=CODE_DISTANCE))
        inputs, outputs = infer_inputs(call.inputs), [requested_output(each) for each in wanted]
        result = yield from self._ask(
            "infer", call.model, deadline, model_name=call.model, inputs=inputs, outputs=outputs
        )
        w, distances = (output_of(each, result) for each in wanted)
        return w, distances

    def _infer_in_shared_memory(self, call: Call, deadline: Deadline) -> Operation[AnyArray]:
        """Infer through a shared region; raises SharedMemoryException if the system or the server refuses one."""
        with SharedRegion(call) as region:
            registration = {"name": region.name, "key": region.key, "byte_size": region.size}
            try:
                yield self._rpc("register_system_shared_memory", deadline, **registration)
            except InferenceServerException as refusal:
                asked = self._asked(call.model, deadline)
                raise SharedMemoryException(refusal_of_shared_memory(refusal, asked)) from None
            except BaseException:  # cancelled, but the server may have registered the region
                self._unreleased.add(region.name)
                raise
            try:
                inputs, outputs = region.inputs(), [region.output()]
                yield from self._ask(
                    "infer", call.model, deadline, model_name=call.model, inputs=inputs, outputs=outputs
                )
                return region.read()
            finally:
                self._unreleased.add(region.name)
                yield from self.release()

    def _ask(self, method: str, model: str, deadline: Deadline, **arguments: Any) -> Operation[Any]:
        """Send a request, again where that may help and the deadline allows it."""
        for attempt in count(1):
            try:
                answer = yield self._rpc(method, deadline, **arguments)
            except InferenceServerException as error:
                pause = self._retries.pause_after(error, attempt)
                yield from self._refuse_missing_encryption(error, attempt)
                if pause is None or pause >= deadline.remaining:
                    raise error_from_triton(error, self._asked(model, deadline)) from None
            else:
                self._retries.succeeded()
                return answer
            if pause:
                yield Pause(pause)
        raise AssertionError("the last attempt returns or raises")

    def _refuse_missing_encryption(self, error: InferenceServerException, attempt: int) -> Operation[None]:
        """Raise RequestError if an address that hung up expects TLS, which this client was not told to use."""
        place = None if self._encrypted or attempt > 1 else address_that_hung_up(error)
        if place and (yield Blocking(partial(expects_tls, *place))):
            raise encryption_expected(self._url) from None

    def _asked(self, model: str, deadline: Deadline) -> Asked:
        return Asked(self._url, model, deadline.seconds, self._metadata.secrets, self._encrypted)

    def _rpc(self, method: str, deadline: Deadline, **arguments: Any) -> Rpc:
        headers = self._metadata.of_request(arguments.get("model_name", ""))
        return Rpc(method, {**arguments, "headers": headers, "client_timeout": deadline.remaining})

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)


def _batch_of(faces: Pictures) -> Pictures:
    """Return one face as a batch, and a batch as it is."""
    array = np.asarray(faces)
    return array[None] if array.ndim == 3 else array
