"""Configuration of a client's gRPC channel, deadlines, and the translation of its errors."""

from __future__ import annotations

import json
import time

from tritonclient.utils import InferenceServerException

from engines.contract.errors import RequestError, ServerError, ToonifyError

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 5,  # gRPC's own upper bound
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # There is no connection, the server is stopping, or its queue is full. Nothing was computed in any of
                # these cases, so a retry is safe.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        # A server that keeps shared memory closed answers UNAVAILABLE, and will do so again.
        {"name": [{"service": "inference.GRPCInferenceService", "method": "SystemSharedMemoryRegister"}]},
    ],
    # Use all addresses of the name: by default a connection stays with one server of several forever.
    "loadBalancingConfig": [{"round_robin": {}}],
}


def channel_arguments() -> list[tuple[str, int | str]]:
    """Return all arguments of the gRPC channel.

    The list includes message sizes, because tritonclient drops its own defaults as soon as any argument is given.
    """
    return [
        # gRPC's default limit of 4 MiB holds only one picture of 1024x1024.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # A request that exceeds this buffer is not retried; the default, 256 KiB, holds one face.
        ("grpc.per_rpc_retry_buffer_size", 256 * 2**20),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Proxies set in the environment are meant for web pages; few of them support gRPC.
        ("grpc.enable_http_proxy", 0),
        # Triton closes a connection that pings more often than every five minutes without sending data.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class Deadline:
    """The time by which a whole operation must end, including all its batches and retries."""

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise RequestError("timeout", got=f"{seconds} s", expected="more than 0", remedy="60 suits most servers")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 1 ms once it has passed, so that gRPC itself reports the expiry."""
        return max(self._end - time.monotonic(), 1e-3)


def is_withdrawn(error: InferenceServerException) -> bool:
    """Return whether the model exists but the server accepts no requests for it, because it stops or replaces it."""
    return error.status() == "StatusCode.NOT_FOUND" and "no available versions" in (error.message() or "")


def refusal_of_shared_memory(error: InferenceServerException) -> str:
    """Say why the server did not register shared memory."""
    if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.UNIMPLEMENTED"):
        return "the server keeps it closed, which toonify serve --allow-shared-memory changes"
    return _one_line(error.message())


def error_from_triton(error: InferenceServerException, url: str, model: str, seconds: float) -> ToonifyError:
    """Return a RequestError if the caller can correct it, or a ServerError if the server or the network is at fault."""
    status = str(error.status() or "an unknown status").removeprefix("StatusCode.")
    message = _one_line(error.message())
    subject = f"model {model!r} at {url}" if model else f"server at {url}"
    if status == "DEADLINE_EXCEEDED":
        return RequestError(
            subject,
            got=f"no answer within {seconds:g} s",
            expected="an answer in time",
            remedy="check that the server is ready, give a longer timeout or send fewer faces",
        )
    if status in ("INVALID_ARGUMENT", "NOT_FOUND") and not is_withdrawn(error):
        return RequestError(
            subject,
            got=f"the refusal {message!r}",
            expected="a request that the server accepts",
            remedy="correct the request, or choose another model (the client's models() lists them)",
        )
    return ServerError(
        f"server at {url}",
        got=f"{status}: {message}",
        expected="an answer",
        remedy="check that it runs there and is not overloaded, or start one with: toonify serve",
    )


def _one_line(message: str | None) -> str:
    line = " ".join((message or "no message").split()).rstrip(".")
    return line if len(line) <= 300 else line[:300] + " ..."
