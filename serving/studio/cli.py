"""``toonify studio``."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from serving.client.defaults import DEFAULT_TIMEOUT
from serving.command_line import stages
from serving.connection import connection_from_options
from serving.options import (
    Classifier,
    Encoder,
    Generators,
    Headers,
    Isf,
    LightEncoder,
    Model,
    Timeout,
    TlsCa,
    TlsCert,
    TlsKey,
    Url,
    landmarker_from_option,
)


def studio(
    url: Url = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    header: Headers = None,
    model: Model = None,
    encoder: Encoder = None,
    isf: Isf = None,
    classifier: Classifier = None,
    generator: Generators = None,
    light_encoder: LightEncoder = None,
    align: Annotated[
        str, typer.Option(metavar="auto|haar|yunet|mediapipe:PATH", help="How to find faces; see toonify image.")
    ] = "auto",
    address: Annotated[str, typer.Option(help="Address to listen on; other machines reach any but loopback.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free port.")] = 8080,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another host name by which browsers may reach the page.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with a token, which browsers then ask for as for a password; needed where --address is not "
            "loopback (or TOONIFY_STUDIO_TOKEN)."
        ),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest picture or clip, in MiB.")] = 1024,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Serve a web page that toonifies pictures, clips and the webcam, until Ctrl-C."""
    from serving.back_end import BackEnd
    from serving.studio.catalogue import catalogue_of
    from serving.studio.studio import Studio
    from serving.studio.token import token_for
    from serving.studio.web import LOOPBACK, application, run
    from serving.triton.ports import listener, url_of

    if align.startswith("file:"):
        raise typer.BadParameter("pictures from a page have no file names to look landmarks up", param_hint="--align")
    token = token_for(address, token_file)
    landmarker = landmarker_from_option(align)
    server = connection_from_options(url, tls_ca, tls_cert, tls_key, header)
    back_end = BackEnd(server, model, encoder, generator or (), isf, timeout, light_encoder, classifier=classifier)
    with listener(address, "studio", port, "--port") as listening, stages() as stage:
        stage("loading models")
        catalogue = catalogue_of(back_end)
        with back_end.toonifier() as toonifier:
            app = application(
                Studio(toonifier, landmarker),
                catalogue,
                hosts=(*LOOPBACK, address, *(allow_host or ())),
                max_upload=max_upload * 2**20,
                token=token,
            )
            page = f"http://{url_of(address, listening.getsockname()[1])}/"
            stage(f"toonify studio is at {page} until Ctrl-C")
            if open_page:
                webbrowser.open(page)
            run(app, listening)
