"""The blocking client of a server that toonifies faces.

It loads no machine learning library, checks a request before sending it, and repeats it where another server may
answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack

import grpc
import tritonclient.grpc

from engines.contract.arrays import AnyArray, Codes, Distances, Pictures
from engines.contract.closing import Closing
from serving.client.addresses import addresses_from
from serving.client.calls import ServedModel
from serving.client.channel import channel_arguments
from serving.client.defaults import DEFAULT_MODEL, DEFAULT_TIMEOUT, DEFAULT_URL
from serving.client.headers import Metadata, Traceparent
from serving.client.operations import CLOSING_ATTEMPTS, Operations
from serving.client.steps import Blocking, Operation, Pause, Step
from serving.controls import Controls, GeneratorControls
from serving.random_faces import Seeds

T = TypeVar("T")


class ToonifyClient(Closing):
    """Blocking client of a server; threads may share one client.

    Every method raises ServerError if the server cannot be reached or fails, and RequestError if the server refuses the
    request or does not answer in time. A request that fails because the server is unavailable, stops and refuses
    further requests, or has lost a model's process, is sent again: at most seven times in all, within the deadline, and
    to another address if there are several. All requests may be repeated, as they change nothing.

    Args:
        url: HOST:PORT of the server's gRPC endpoint, or https://HOST:PORT if it has TLS. Several servers of the same
            models are used in turn: a list of addresses, ``"A:8001,B:8001"``, ``"ipv4:A:8001,B:8001"``, or a name that
            stands for several. With TLS, the certificates of all in a list must have the first one's name.
        timeout: seconds for a whole call, including all of its batches and retries.
        shared_memory: pass faces and pictures through /dev/shm if the server runs on the same machine and allows it
            (``toonify serve --allow-shared-memory``); otherwise they are sent as bytes. Servers refuse by default,
            since clients name the memory that the server reads and writes. Shared memory takes a fifth less time for
            pictures of 1024x1024, and no less for small ones. It needs a single address.
        headers: gRPC metadata to send along, such as a key. The model's name is sent too, as ``toonify-model``.
        credentials: credentials of a TLS channel, as ``tls_credentials`` reads them from files; without them, and
            without https://, the channel is not encrypted.
        traceparent: the W3C trace context that the requests belong to, or a function that returns it for each one.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        shared_memory: bool = False,
        headers: Mapping[str, str] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        traceparent: Traceparent = None,
    ) -> None:
        self._operations, channel = prepared(
            url, Metadata(headers, traceparent), credentials, timeout=timeout, shared_memory=shared_memory
        )
        self._rpc = tritonclient.grpc.InferenceServerClient(**channel)

    def toonify(
        self,
        faces: Pictures,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[Controls],
    ) -> Pictures:
        """Toonify aligned faces: uint8 [N, 256, 256, 3] or [256, 256, 3], RGB -> uint8 [N, R, R, 3], RGB.

        A batch that exceeds the server's largest is sent in parts. ``controls`` are those of
        ``serving.controls.Controls``; an attribute that a mapping leaves out stays as it is in the face, if the server
        has a classifier or ``keep`` says how it is.
        """
        return self._run(self._operations.toonify(faces, model, timeout, controls))

    def toonify_jpeg(
        self,
        jpegs: bytes | Sequence[bytes],
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[Controls],
    ) -> list[bytes]:
        """Toonify as ``toonify`` does, from JPEG files to JPEG files: a tenth of the data, for slow networks."""
        return self._run(self._operations.toonify_jpeg(jpegs, model, timeout, controls))

    def encode(self, faces: Pictures, *, timeout: float | None = None) -> Codes:
        """Run the encoder: the same faces -> their codes, float32 [N, L, D], as the encoder computes them.

        ``toonify`` guards its codes, as ``encode_with_distance`` does.
        """
        return self._run(self._operations.encode(faces, timeout))

    def encode_with_distance(
        self, faces: Pictures, *, model: str = DEFAULT_MODEL, timeout: float | None = None
    ) -> tuple[Codes, Distances | None]:
        """Run the first half of ``toonify``: the same faces -> their codes, [N, L, D], and how far out they lay, [N].

        A code that lay farther out than 1 was pulled in, as ``toonify`` does. Use it for codes that are smoothed over
        frames or rendered several times. Where the server does not know the spread of good faces' codes
        (``describe(model).encode`` is empty), no code is pulled in, and the distances are None.
        """
        return self._run(self._operations.encode_with_distance(faces, model, timeout))

    def read_attributes(self, faces: Pictures, *, timeout: float | None = None) -> AnyArray:
        """Read which attributes the same faces show: probabilities float32 [N, A], in the model's order.

        The server needs a classifier; ``describe(...).reads_attributes`` tells.
        """
        return self._run(self._operations.read_attributes(faces, timeout))

    def render(
        self, w: Codes, *, model: str = DEFAULT_MODEL, timeout: float | None = None, **controls: Unpack[Controls]
    ) -> Pictures:
        """Run the second half of ``toonify``: codes float32 [N, L, D] -> uint8 [N, R, R, 3], RGB.

        There is no face to read attributes from: an edit that keeps some needs ``keep``.
        """
        return self._run(self._operations.render(w, model, timeout, controls))

    def sample(
        self,
        seeds: Seeds,
        *,
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **controls: Unpack[GeneratorControls],
    ) -> Pictures:
        """Draw random faces with the generator of an ensemble: a seed for each -> uint8 [N, R, R, 3], RGB.

        ``controls`` are ``psi`` and the blend of a live model, one value for all seeds or one for each. A seed stands
        for the same face at any time, in any batch and in one process (``toonify sample --generator``).
        The server needs the generator's mapping network; ``describe(...).mapping`` tells.
        """
        return self._run(self._operations.sample(seeds, model, timeout, controls))

    def sample_codes(self, seeds: Seeds, *, model: str = DEFAULT_MODEL, timeout: float | None = None) -> Codes:
        """Draw only the codes of the same faces, untruncated, float32 [N, L, D], which ``render`` can edit."""
        return self._run(self._operations.sample_codes(seeds, model, timeout))

    def models(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return the possible values of ``model``: the names of the loaded ensembles."""
        return self._run(self._operations.models(timeout))

    def describe(self, model: str = DEFAULT_MODEL, *, timeout: float | None = None) -> ServedModel:
        """Return a model's resolution, attribute names, largest batch and origin."""
        return self._run(self._operations.describe(model, timeout))

    def is_ready(self, model: str = DEFAULT_MODEL, *, timeout: float | None = None) -> bool:
        """Return whether the server reports the model as ready; False if no server answers.

        A server may report a model as ready although its process has died: only a picture proves that it works.
        """
        return self._run(self._operations.is_ready(model, timeout))

    def close(self) -> None:
        """Release the memory shared with the server, and close the connection."""
        self._run(self._operations.release(CLOSING_ATTEMPTS))
        self._rpc.close()

    def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                try:
                    answer = self._perform(step)
                except BaseException as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Blocking):
            return step.function()
        return getattr(self._rpc, step.method)(**step.arguments)


def prepared(
    url: str | Sequence[str],
    metadata: Metadata,
    credentials: grpc.ChannelCredentials | None,
    *,
    timeout: float,
    shared_memory: bool,
) -> tuple[Operations, dict[str, Any]]:
    """Return a client's operations, and the arguments of the tritonclient that performs them."""
    addresses = addresses_from(url)
    if addresses.encrypted:
        credentials = credentials or grpc.ssl_channel_credentials()
    encrypted = credentials is not None
    operations = Operations(addresses, metadata, timeout=timeout, shared_memory=shared_memory, encrypted=encrypted)
    arguments = channel_arguments(addresses.certificate_name if encrypted else "")
    return operations, {"url": addresses.target, "creds": credentials, "channel_args": arguments}
