"""``toonify edge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.command_line import stages
from serving.deploy.limits import ADDRESS, LARGEST_MESSAGE, LONGEST_REQUEST, MIB, PORT, REQUESTS_A_SERVER
from serving.options import Force


def edge(
    upstream: Annotated[
        list[str],
        typer.Option(metavar="HOST:PORT", help="gRPC endpoint of a server; repeat for several of the same models."),
    ],
    address: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs --tls-cert and known callers.")
    ] = ADDRESS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free port.")] = PORT,
    tls_cert: Annotated[Path | None, typer.Option(help="The edge's certificate and its issuers', in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The private key of --tls-cert.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Admit only clients with a certificate of these authorities (mTLS).")
    ] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="Admit only holders of a key: one NAME=KEY a line; sent as x-api-key.")
    ] = None,
    jwks: Annotated[
        Path | None, typer.Option(help="Admit only holders of a token (JWT) that one of these public keys verifies.")
    ] = None,
    jwt_issuer: Annotated[str | None, typer.Option(help="With --jwks: who issues the tokens (iss).")] = None,
    jwt_audience: Annotated[str | None, typer.Option(help="With --jwks: for whom they are (aud).")] = None,
    max_requests: Annotated[
        int,
        typer.Option(
            min=0, help=f"Requests in flight at all servers; others are refused. 0: {REQUESTS_A_SERVER} a server."
        ),
    ] = 0,
    max_message: Annotated[int, typer.Option(min=1, help="Largest request, in MiB.")] = LARGEST_MESSAGE,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a request is given up.")
    ] = LONGEST_REQUEST,
    http: Annotated[
        bool, typer.Option("--http", help="Take JPEG files over HTTP too: curl --data-binary @face.jpg .../toonify")
    ] = False,
    log: Annotated[Path, typer.Option(help="Envoy's log, with a line for each request.")] = Path("build/edge.log"),
    print_configuration: Annotated[
        bool, typer.Option("--print", help="Only print Envoy's configuration, without its keys.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Only write Envoy's configuration, keys included, readable to its owner.")
    ] = None,
    force: Force = False,
) -> None:
    """Let others reach servers: run Envoy in front of them until Ctrl-C or SIGTERM; SIGHUP reads the files again."""
    # Imported late: the other commands need neither Envoy nor its configuration.
    from serving.deploy.configuration import configuration, text_of, without_secrets, write_configuration
    from serving.deploy.edge import Edge, callers_from_files, tls_from_files
    from serving.deploy.supervision import run_edge

    def wanted() -> Edge:
        return Edge(
            tuple(upstream),
            callers=callers_from_files(api_keys, jwks, jwt_issuer, jwt_audience),
            tls=tls_from_files(tls_cert, tls_key, client_ca),
            address=address,
            port=port,
            max_requests=max_requests,
            max_message=max_message * MIB,
            timeout=timeout,
            http=http,
        )

    if not (print_configuration or output):
        with stages() as stage:
            run_edge(wanted, log=log, progress=stage)
        return
    described = wanted()
    if print_configuration:
        typer.echo(without_secrets(text_of(configuration(described)), described), nl=False)
    if output:
        write_configuration(described, output, force=force)
        typer.echo(f"{output}: run it with: envoy --config-path {output}")
