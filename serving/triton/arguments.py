"""Arguments of Triton: those that this package gives, and a check of those that a user adds."""

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
"""Quantiles of each model's times, besides their sums, each as QUANTILE:ERROR, its largest error."""

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
        # The canary's requests are not encrypted; an edge encrypts those of clients.
        "grpc-use-ssl",
        "grpc-use-ssl-mutual",
        # Further protocols, whose requests this package does not restrict.
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
"""Beginnings of arguments that this package gives, of options that may be given several times."""

_TRACE_SETTINGS = tuple(
    f"--trace-config={name}"
    for name in ("mode", "level", "rate", "count", "opentelemetry,url", "opentelemetry,resource=service.name")
)


@dataclass(frozen=True)
class Trace:
    """Where a server sends traces, the times of requests and of their steps, by OpenTelemetry's protocol (OTLP).

    Attributes:
        url: the collector's address for OTLP over HTTP, such as ``http://localhost:4318/v1/traces``.
        rate: one in ``rate`` requests is traced; 0 traces only requests whose client sends ``traceparent``, which are
            always traced.
    """

    url: str
    rate: int = 1

    def __post_init__(self) -> None:
        """Check the address and the rate.

        Raises:
            RequestError: the address or the rate is not of its form, or the address holds a key, which every user of
                the machine could read.
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
    """Yield the arguments that open the services in ``ports``, by their names, and close the others."""
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
    """Check the options of Triton that a user adds.

    Args:
        arguments: options of Triton.
        traced: whether this package sets the options of tracing too.

    Raises:
        RequestError: one of them is not an option, or is an option that this package sets.
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
        # Triton accepts the beginning of a name for the whole one.
        if any(option.startswith(name) for option in _OWN) or argument.startswith(settings):
            raise _refused(
                f"argument --{name}",
                "an option that toonify serve sets itself",
                "other options of Triton",
                "leave it out; toonify serve --help lists what can be chosen",
            )


def _refused(subject: str, got: str, expected: str, remedy: str) -> RequestError:
    return RequestError(subject, got=got, expected=expected, remedy=remedy)
