"""Configuration of a client's gRPC channel, and deadlines."""

from __future__ import annotations

import json
import time

from engines.contract.errors import RequestError

_SERVICE_CONFIG = {
    # All addresses are used in turn: by default a connection stays with one server of several forever. An address at
    # which most requests of a second fail, as where a model's process has died, gets none for two seconds, and for
    # longer each time. The second entry is for a gRPC that does not know the first one.
    "loadBalancingConfig": [
        {
            "outlier_detection_experimental": {
                "interval": "1s",
                "baseEjectionTime": "2s",
                "maxEjectionTime": "30s",
                "maxEjectionPercent": 50,
                "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 2},
                "childPolicy": [{"round_robin": {}}],
            }
        },
        {"round_robin": {}},
    ],
}


def channel_arguments(certificate_name: str = "") -> list[tuple[str, int | str]]:
    """Return all arguments of the gRPC channel.

    The list includes message sizes, because tritonclient drops its own defaults as soon as any argument is given. With
    several addresses and TLS, ``certificate_name`` is the name that all their certificates must have.
    """
    return [
        # gRPC's default limit of 4 MiB holds only one picture of 1024x1024.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # An edge that restarts listens again after less than half a second; gRPC would ask for it after a whole one.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Proxies set in the environment are meant for web pages; few of them support gRPC.
        ("grpc.enable_http_proxy", 0),
        # Triton closes a connection that pings more often than every five minutes without sending data.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        *([("grpc.ssl_target_name_override", certificate_name)] if certificate_name else []),
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
