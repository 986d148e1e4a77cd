"""The commands of ``toonify-export`` that write, accept and sign model repositories.

What loads gRPC is imported where it is needed, so that help comes at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engines.contract.atomic import check_output
from engines.matching import mapping_of
from engines.model_directory import MANIFEST, Manifest, read_manifest
from engines.rtx_metadata import unverified_sentence
from serving.options import Force
from serving.quiet_grpc import quiet_grpc
from serving.signing import sign_folder

console = Console(highlight=False, soft_wrap=True)


def repository(
    encoder: Annotated[Path, typer.Option(help="Model directory of the encoder.")],
    generator: Annotated[list[Path], typer.Option(help="Model directory of a generator; repeat for several.")],
    isf: Annotated[Path | None, typer.Option(help="Model directory of the ISF head.")] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="Model directory of the classifier, by which edits keep what they do not name.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The repository to write.")] = Path("build/model_repository"),
    perf_data: Annotated[
        Path | None, typer.Option(help="Also write a folder of faces for NVIDIA's perf_analyzer (--input-data).")
    ] = None,
    guard: Annotated[
        bool,
        typer.Option(help="Pull in codes that lie farther out than those of good faces, as the encoder knows them."),
    ] = True,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Combine model directories into a Triton model repository."""
    with quiet_grpc():
        from serving.triton.repository import check_repository, write_repository
    if perf_data:
        check_output(perf_data, force=force)
    models = check_repository(
        output, encoder=encoder, generators=generator, isf=isf, classifier=classifier, force=force
    )
    from export.end_to_end import ModelSet, all_float32, verify_end_to_end  # imported late: it loads PyTorch

    unverified = _unverified(models)
    # An engine that was never verified may not even run on this machine.
    measured = not unverified and not all_float32(models.values())
    errors = verify_end_to_end(ModelSet(encoder, isf, generator)) if measured else {}
    write_repository(
        output, encoder=encoder, generators=generator, isf=isf, classifier=classifier, guard=guard, force=force
    )
    if perf_data:
        from export.perf_data import write_perf_data

        write_perf_data(perf_data, force=force)
    if as_json:
        end_to_end = {directory.name: error.model_dump(mode="json") for directory, error in errors.items()}
        fields = {"repository": str(output), "end_to_end": end_to_end, "unverified": [*map(str, unverified)]}
        typer.echo(json.dumps(fields))
        return
    for directory, error in errors.items():
        console.print(f"  from face to picture of {directory.name}, against float32: {error}")
    for directory in unverified:
        console.print(f"  {unverified_sentence(directory)}, then write the repository again")
    console.print(f"{output}: serve it with: toonify serve --repository {output}")


def _unverified(models: Mapping[Path, Manifest]) -> list[Path]:
    """The directories to verify on a GPU; a mapping network is verified with the generator that it lies in."""
    unverified = {path: model for path, model in models.items() if model.is_unverified}
    return [*{path.parent if model.component == "mapping" else path: None for path, model in unverified.items()}]


def seal(
    repository: Annotated[Path, typer.Argument(help="A model repository whose configurations you have changed.")],
) -> None:
    """Accept the files of a model repository as they are; toonify serve refuses changed ones."""
    with quiet_grpc():
        from serving.triton.contents import write_contents
    write_contents(repository)
    console.print(f"{repository}: sealed")


def sign(
    directory: Annotated[Path, typer.Argument(help="A model repository or a model directory, unaltered.")],
    key: Annotated[Path, typer.Option(help="Private key in PEM, on an elliptic curve.")],
) -> None:
    """Sign every file of a directory, for toonify serve --trusted-key."""
    if (directory / MANIFEST).exists():
        read_manifest(directory)
        if mapping := mapping_of(directory):
            read_manifest(mapping)
    else:
        with quiet_grpc():
            from serving.triton.contents import check_models_too
        check_models_too(directory)
    sign_folder(directory, key)
    console.print(f"{directory}: signed")
