"""The side of Envoy's configuration that faces the servers: routes, retries, and which servers get requests."""

from __future__ import annotations

from serving.deploy.edge import Edge
from serving.deploy.extensions import Json, named, seconds, typed

CLUSTER = "triton"

_OWN_FAULTS = ("has no available versions", "Stub process")
"""What a server says that stops, and one of which a model's process has died: another one may answer."""

_RETRIES = 2
"""Attempts after the first one. A request that itself ends servers so reaches three of them at most."""


def routes(edge: Edge) -> list[Json]:
    """Send everything to the servers, until the client's deadline or the edge's, whichever comes first."""
    longest = seconds(edge.timeout)
    route = {
        "cluster": CLUSTER,
        # Envoy's own default of 15 s would end long queues; this one counts from the end of the request.
        "timeout": longest,
        "max_stream_duration": {"max_stream_duration": longest, "grpc_timeout_header_max": longest},
        "retry_policy": retry_policy(),
    }
    return [{"match": {"prefix": "/"}, "route": route}]


def retry_policy() -> Json:
    """Ask another server where one is gone, or says that it cannot answer for a reason of its own.

    Requests change nothing on a server, so that one which was cut off (``reset``) may be sent again. The limit of
    requests in flight is no reason: Envoy repeats nothing that it refused itself for that.
    """
    other_host = typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {
        "retry_on": "connect-failure,refused-stream,reset,unavailable,retriable-headers",
        "retriable_headers": [_message_with(text) for text in _OWN_FAULTS],
        "num_retries": _RETRIES,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [named("envoy.retry_host_predicates.previous_hosts", other_host)],
        "host_selection_retry_max_attempts": 5,
    }


def cluster(edge: Edge) -> Json:
    """Spread requests over the servers.

    The one of two with fewer requests in flight gets the next one, as pictures take long. When all servers are ill, the
    reply comes at once (no "panic", in which requests would go to ill servers too). Connections to a server that falls
    ill are closed, so that what waits there is sent to another one.
    """
    return {
        "name": CLUSTER,
        "cluster_type": named("envoy.clusters.dns", names()),
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        # By default what is known of a server's health within a second of other news waits for that second to end.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "close_connections_on_host_health_failure": True,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol()},
        "health_checks": [health_check()],
        "outlier_detection": outlier_detection(),
        "circuit_breakers": {"thresholds": [admission(edge.admitted)]},
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [_endpoint(host, port) for host, port in edge.places]}],
        },
    }


def names() -> Json:
    """Look every server's name up again and again: all addresses behind it are servers."""
    return typed("extensions.clusters.dns.v3.DnsCluster", dns_refresh_rate="5s", respect_dns_ttl=True)


def protocol() -> Json:
    """Speak HTTP/2, and count as a server's failures only those that are its own.

    A client must not be able to take servers out of service by requests that fail.
    """
    unavailable = {"name": "grpc-status", "string_match": {"exact": "14"}}
    broken = {"name": ":status", "range_match": {"start": 500, "end": 600}}
    failures = [broken, unavailable, *(_message_with(text) for text in _OWN_FAULTS)]
    rules = [{"http_response_headers_match": {"headers": [header]}} for header in failures]
    windows = {"initial_stream_window_size": 2**20, "initial_connection_window_size": 2**24}
    return typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": windows},
        outlier_detection={"error_matcher": {"or_match": {"rules": rules}}},
    )


def health_check() -> Json:
    """Ask each server every second whether it is ready.

    Without it, a dead server would get the most requests, since it fails the fastest.
    """
    return {
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }


def outlier_detection() -> Json:
    """Leave out a server that fails three requests in a row, for a second and then longer.

    This sees what health checks do not: Triton is "ready" while it withdraws its models, and after a model's process
    died. One of two servers may be left out, two of three, and the only one never is.
    """
    return {
        "consecutive_5xx": 3,
        "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": "0.5s",
        "base_ejection_time": "1s",
        "max_ejection_time": "15s",
        "max_ejection_percent": 67,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 0,
    }


def admission(requests: int) -> Json:
    """Refuse a request at once if so many are in flight.

    Triton refuses nothing and queues, until all answers come too late. Retries have no limit of their own below that
    one, since all requests of a server that dies are repeated at the same time.
    """
    return {"max_requests": requests, "max_pending_requests": requests, "max_retries": requests}


def _endpoint(host: str, port: int) -> Json:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def _message_with(text: str) -> Json:
    return {"name": "grpc-message", "string_match": {"contains": text}}
