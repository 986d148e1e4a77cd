"""How a client's gRPC channel behaves, and what its failures mean."""

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
                # No connection, a server that stops, a full queue: nothing was computed, so asking again is safe.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # Over all addresses of the name: otherwise one connection keeps to one server of several for ever.
    "loadBalancingConfig": [{"round_robin": {}}],
}


def channel_arguments() -> list[tuple[str, int | str]]:
    """Arguments of the gRPC channel.

    Complete: tritonclient leaves its own out as soon as it is given any, and with them its message sizes.
    """
    return [
        # gRPC's default of 4 MiB is one picture of 1024x1024.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # A request beyond the default, 256 KiB or two faces, would be sent once and never again.
        ("grpc.per_rpc_retry_buffer_size", 256 * 2**20),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Proxies of the environment are for web pages; few of them pass gRPC on.
        ("grpc.enable_http_proxy", 0),
        # Triton closes a connection that pings more often than every five minutes without sending data.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class Deadline:
    """A time by which a whole operation has to end, retries and all batches included."""

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise RequestError("timeout", got=f"{seconds} s", expected="more than 0", remedy="60 suits most servers")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds until then; a little more than 0 when it has passed, so that gRPC itself reports it."""
        return max(self._end - time.monotonic(), 1e-3)


def error_from_triton(error: InferenceServerException, url: str, model: str, seconds: float) -> ToonifyError:
    """RequestError where the caller can mend it, ServerError where the server or the way to it is at fault."""
    status = str(error.status() or "an unknown status").removeprefix("StatusCode.")
    message = _one_line(error.message())
    subject = f"model {model!r} at {url}" if model else f"server at {url}"
    if status == "DEADLINE_EXCEEDED":
        return RequestError(
            subject,
            got=f"no answer within {seconds:g} s",
            expected="one in time",
            remedy="look whether the server is ready, give a longer timeout or send fewer faces",
        )
    # While a server stops or exchanges a model, the model exists and has no version.
    if status in ("INVALID_ARGUMENT", "NOT_FOUND") and "no available versions" not in message:
        return RequestError(
            subject,
            got=f"the refusal {message!r}",
            expected="a request that the server takes",
            remedy="correct the request, or choose another model (the client's models() lists them)",
        )
    return ServerError(
        f"server at {url}",
        got=f"{status}: {message}",
        expected="an answer",
        remedy="look whether it runs there and is not overloaded, or start one with: toonify serve",
    )


def _one_line(message: str | None) -> str:
    line = " ".join((message or "no message").split()).rstrip(".")
    return line if len(line) <= 300 else line[:300] + " ..."
