"""What a server is told on its command line: by this package, and by its user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from engines.contract.errors import RequestError

METRICS_ARGUMENTS = (
    "--metrics-config=summary_latencies=true",
    "--metrics-config=summary_quantiles=0.5:0.05,0.95:0.005,0.99:0.001",
)
"""Quantiles of each model's times, besides their sums: "QUANTILE:ERROR", the error being one of the quantile."""

_SERVICES = ("grpc", "http", "metrics")

_OWN = frozenset(
    (
        "model-repository",
        "model-store",  # the same under its old name
        "model-control-mode",
        "repository-poll-secs",
        "load-model",
        "model-config-name",
        "disable-auto-complete-config",
        "strict-model-config",  # its opposite
        "exit-timeout-secs",
        "log-file",
        "allow-gpu-metrics",
        "grpc-restricted-protocol",
        "http-restricted-api",
        "grpc-infer-allocation-pool-size",
        # The requests that show that a model lives are not encrypted. An edge encrypts.
        "grpc-use-ssl",
        "grpc-use-ssl-mutual",
        # Further doors, which would have no locks.
        "allow-sagemaker",
        "allow-vertex-ai",
        *(f"allow-{service}" for service in _SERVICES),
        *(f"{service}-{noun}" for service in _SERVICES for noun in ("address", "port")),
    )
)
"""Options of Triton whose values this package decides."""

_OWN_SETTINGS = (
    "--backend-config=python,shm-region-prefix-name",
    "--metrics-config=summary_latencies",
    "--metrics-config=summary_quantiles",
)
"""Beginnings of arguments that may be given several times, and of which this package gives some."""

_TRACE_SETTINGS = tuple(
    f"--trace-config={name}"
    for name in ("mode", "level", "rate", "count", "opentelemetry,url", "opentelemetry,resource=service.name")
)


@dataclass(frozen=True)
class Trace:
    """Where a server sends what it knows of the times of requests and their steps, by OpenTelemetry's protocol OTLP.

    Attributes:
        url: the collector's address for OTLP over HTTP, as ``http://localhost:4318/v1/traces``.
        rate: one in so many requests is traced; 0 traces those alone whose client sends ``traceparent``, which are
            always traced.
    """

    url: str
    rate: int = 1

    def __post_init__(self) -> None:
        """Check the address and the rate.

        Raises:
            RequestError: one of them is none, or the address holds a key, which every user of the machine could read.
        """
        if "@" in self.url:  # not shown
            raise _refused("--trace", "an address with a user's name", "one without keys", "give keys to the collector")
        if not _is_web_address(self.url):
            raise _refused("--trace", repr(self.url), "http://HOST:PORT/v1/traces", "name the collector's address")
        if not 0 <= self.rate < 2**31:
            raise _refused("--trace-rate", str(self.rate), f"a number from 0 to {2**31 - 1}", "leave it out")

    def arguments(self) -> Iterator[str]:
        """Yield Triton's arguments."""
        yield "--trace-config=mode=opentelemetry"
        yield f"--trace-config=opentelemetry,url={self.url}"
        yield "--trace-config=opentelemetry,resource=service.name=toonify"
        yield "--trace-config=level=TIMESTAMPS"
        yield f"--trace-config=rate={self.rate}"
        yield "--trace-config=count=-1"


def _is_web_address(text: str) -> bool:
    """Return whether it is one that Triton can be given: its server ends at once when it cannot read a port."""
    try:
        parts = urlsplit(text)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half a bracket
        return False
    return complete and re.fullmatch(r"[!-~]+", text) is not None


def listening(ports: Mapping[str, int], addresses: Mapping[str, str]) -> Iterator[str]:
    """Yield the arguments for the services that are open, by their names, and those that keep the others closed."""
    for service in _SERVICES:
        if service in ports:
            yield f"--{service}-address={_spelt(addresses[service], service)}"
            yield f"--{service}-port={ports[service]}"
        else:
            yield f"--allow-{service}=false"


def _spelt(address: str, service: str) -> str:
    """Return an address as Triton's two libraries for servers read it, which differ for IPv6."""
    if ":" not in address:
        return address
    return f"[{address}]" if service == "grpc" else f"ipv6:{address}"


def check_arguments(arguments: Sequence[str], *, traced: bool = False) -> None:
    """Check what a user wants to tell the server besides.

    Args:
        arguments: options of Triton.
        traced: whether this package sets those of tracing too.

    Raises:
        RequestError: one is no option, or is one that this package sets.
    """
    settings = (*_OWN_SETTINGS, *(_TRACE_SETTINGS if traced else ()))
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        if name == argument or not name:
            raise _refused(
                f"argument {argument!r}",
                "something else than an option of Triton",
                "--NAME or --NAME=VALUE after --",
                "name a repository with --repository, and write options of Triton with =",
            )
        # Triton takes every beginning of a name for the whole one.
        if any(option.startswith(name) for option in _OWN) or argument.startswith(settings):
            raise _refused(
                f"argument --{name}",
                "an option that toonify serve sets itself",
                "other options of Triton",
                "leave it out; toonify serve --help lists what can be chosen",
            )


def _refused(subject: str, got: str, expected: str, remedy: str) -> RequestError:
    return RequestError(subject, got=got, expected=expected, remedy=remedy)
