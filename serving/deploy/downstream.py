"""The side of Envoy's configuration that faces clients: the listener, whom it admits, and what they may ask.

Each function returns one of Envoy's objects in its JSON form and says why it is as it is. Type names and fields are
those of Envoy's reference, https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from serving.client.headers import MODEL_HEADER, TRACE_HEADER
from serving.deploy.callers import ApiKeys, Tokens
from serving.deploy.edge import Edge, Tls
from serving.deploy.extensions import Json, named, seconds, typed
from serving.deploy.upstream import routes

CALLER_HEADER = "x-client-id"
"""Header that tells servers and the log who calls; what a client itself sends by this name is removed."""

STATISTICS = "edge"
"""Beginning of the names of the listener's statistics."""

ALLOWED_METHODS = (
    "/grpc.health.v1.Health/Check",
    *(
        f"/inference.GRPCInferenceService/{name}"
        for name in (
            "ModelConfig",
            "ModelInfer",
            "ModelMetadata",
            "ModelReady",
            "RepositoryIndex",
            "ServerLive",
            "ServerMetadata",
            "ServerReady",
        )
    ),
)
"""What may be asked: pictures, descriptions of the models and readiness. ``RepositoryIndex`` only lists the models."""

_CALL = {":method": {"exact": "POST"}, "te": {"exact": "trailers"}, "content-type": {"prefix": "application/grpc"}}
"""The headers that every call of gRPC has."""

_NEVER_AGAIN = {
    "header": {"key": "grpc-retry-pushback-ms", "value": "-1"},
    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
}
_WINDOW, _WINDOW_OF_ALL = 2**20, 16 * 2**20
"""Bytes that one request, and all requests of a connection, may send before they are read."""


def listener(edge: Edge) -> Json:
    """Make the one listener.

    The buffer holds a whole request: what exceeds it could not be sent again to another server. Who connects and does
    not begin TLS is disconnected, as silent connections could otherwise take the place of all others.
    """
    return {
        "name": "edge",
        "address": {"socket_address": {"address": edge.address, "port_value": edge.port}},
        "per_connection_buffer_limit_bytes": edge.max_message + 2**20,
        "filter_chains": [
            {
                **({"transport_socket": transport_socket(edge.tls)} if edge.tls else {}),
                "transport_socket_connect_timeout": "10s",
                "filters": [named("envoy.filters.network.http_connection_manager", connection_manager(edge))],
            }
        ],
    }


def transport_socket(tls: Tls) -> Json:
    """Encrypt; with authorities of clients, refuse connections without a certificate of theirs."""
    asked = {"validation_context": {"trusted_ca": {"filename": str(tls.client_ca)}}} if tls.client_ca else {}
    pair = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
    }
    context = {
        "require_client_certificate": tls.client_ca is not None,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [pair],
            **asked,
        },
    }
    name = "envoy.transport_sockets.tls"
    return named(name, typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", **context))


def connection_manager(edge: Edge) -> Json:
    """Speak HTTP with clients, as an edge that strangers reach should.

    The requests of one connection are bounded in number, and each fills no more than a window before it is read. What a
    client says of itself (``x-forwarded-for``, ``x-client-id``) counts for nothing.
    """
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return typed(
        kind,
        stat_prefix=STATISTICS,
        codec_type="AUTO",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        early_header_mutation_extensions=[_without_own_name()],
        # Clients connect again by themselves, and connections are bounded in number.
        common_http_protocol_options={"idle_timeout": "300s"},
        http2_protocol_options={
            "max_concurrent_streams": 128,
            "initial_stream_window_size": _WINDOW,
            "initial_connection_window_size": _WINDOW_OF_ALL,
        },
        request_headers_timeout="10s",
        stream_idle_timeout=seconds(edge.timeout),
        # Between the announcement that a connection ends and its end; the edge waits for it when it stops.
        drain_timeout="1s",
        access_log=[access_log()],
        local_reply_config=local_replies(),
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(edge)}]},
        http_filters=http_filters(edge),
    )


def http_filters(edge: Edge) -> list[Json]:
    """Put the filters in the order in which they meet a request.

    Who calls is asked first, so that strangers learn nothing. A JPEG sent over HTTP becomes a call of gRPC before the
    allow-list, which so has no exception.
    """
    pictures = [named("envoy.filters.http.lua", pictures_over_http())] if edge.http else []
    return [
        *caller_filters(edge.callers),
        *pictures,
        named("envoy.filters.http.rbac", allow_list()),
        named("envoy.filters.http.buffer", size_limit(edge.max_message)),
        named("envoy.filters.http.router", typed("extensions.filters.http.router.v3.Router")),
    ]


def caller_filters(callers: ApiKeys | Tokens | None) -> list[Json]:
    """Admit holders of keys or tokens alone; neither travels on to the servers, which get the caller's name."""
    if isinstance(callers, ApiKeys):
        return [named("envoy.filters.http.api_key_auth", _key_check(callers))]
    if isinstance(callers, Tokens):
        return [named("envoy.filters.http.jwt_authn", _token_check(callers))]
    return []


def allow_list() -> Json:
    """Refuse all methods but those of ``ALLOWED_METHODS``, and what is no call of gRPC.

    Others load models, name shared memory, change log and trace settings, or tell statistics. Servers cut off what is
    no call of gRPC without an answer, which would count as their failure and put them out of service.
    """
    methods = [{"url_path": {"path": {"exact": method}}} for method in ALLOWED_METHODS]
    call = [{"header": {"name": name, "string_match": match}} for name, match in _CALL.items()]
    permission = {"and_rules": {"rules": [*call, {"or_rules": {"rules": methods}}]}}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    return typed("extensions.filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": {"inference": policy}})


def size_limit(largest: int) -> Json:
    """Take a request whole before a server sees any of it, and refuse a larger one with status 413.

    The servers themselves would hold messages of up to 2 GiB.
    """
    return typed("extensions.filters.http.buffer.v3.Buffer", max_request_bytes=largest)


def pictures_over_http() -> Json:
    """Turn ``POST /toonify`` with a JPEG into a call of gRPC, and its answer into a JPEG."""
    return typed("extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": _pictures_lua()})


def local_replies() -> Json:
    """Say to clients that meet the limit of requests that they shall not try again.

    Otherwise those who were refused would ask again at once, and each of them add to the overload.
    """
    overflow = {
        "filter": {"response_flag_filter": {"flags": ["UO"]}},
        "headers_to_add": [_NEVER_AGAIN],
        "body": {"inline_string": "overflow: the servers have as many requests as they are allowed"},
    }
    return {"mappers": [overflow]}


def access_log() -> Json:
    """Write a line of JSON for each request, without its headers but those that name caller, model and trace.

    What follows a ? in the path is left out: somebody may write a key there.
    """
    fields = {
        "time": "%START_TIME%",
        "caller": f"%REQ({CALLER_HEADER})%",
        "certificate": "%DOWNSTREAM_PEER_SUBJECT%",
        "path": "%PATH(NQ:PATH)%",
        "model": f"%REQ({MODEL_HEADER})%",
        "trace": f"%REQ({TRACE_HEADER})%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS%",
        "flags": "%RESPONSE_FLAGS%",
        "milliseconds": "%DURATION%",
        "server": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
    }
    kind = "extensions.access_loggers.stream.v3.StdoutAccessLog"
    return named("envoy.access_loggers.stdout", typed(kind, log_format={"json_format": fields}))


def _without_own_name() -> Json:
    """Remove the caller's name that a client sends, before a key or token gives it its own."""
    kind = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    mutation = typed(kind, mutations=[{"remove": CALLER_HEADER}])
    return named("envoy.http.early_header_mutation.header_mutation", mutation)


def _key_check(callers: ApiKeys) -> Json:
    return typed(
        "extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        credentials=[{"client": name, "key": key} for name, key in callers.keys.items()],
        key_sources=[{"header": "x-api-key"}],
        forwarding={"header": CALLER_HEADER, "hide_credentials": True},
    )


def _token_check(callers: Tokens) -> Json:
    provider = {
        "issuer": callers.issuer,
        "audiences": [callers.audience],
        "local_jwks": {"inline_string": callers.key_set},
        # Envoy would take tokens in the path too, which programs on the way and the servers write to their logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "claim_to_headers": [{"header_name": CALLER_HEADER, "claim_name": "sub"}],
        # A token that never ends could not be taken back.
        "require_expiration": True,
    }
    return typed(
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"provider": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "provider"}}],
    )


@cache
def _pictures_lua() -> str:
    return files("serving.deploy").joinpath("pictures.lua").read_text(encoding="utf-8")
