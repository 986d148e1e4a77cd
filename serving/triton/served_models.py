"""The folder of models that a server polls: a model put into it is loaded, one taken out of it is unloaded.

Triton's load and unload requests need no password, or one on the command line, which every user of the machine can
read. The folder belongs to the user who serves, so only that user can load or unload anything.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engines.contract.atomic import DISK_ERRORS
from engines.contract.errors import ServerError

POLL_ARGUMENTS = ("--model-control-mode=poll", "--repository-poll-secs=1")

_NEVER = 4102444800  # the year 2100, in seconds of Unix time


class ServedModels:
    """A folder that holds a model repository's models, safe from later changes of the repository."""

    def __init__(self, folder: Path, repository: Path) -> None:
        """Put every model of the repository into the new folder.

        Raises:
            ServerError: a file of the repository cannot be read.
            OSError: the new folder's disk is full.
        """
        self.folder = folder
        folder.mkdir()
        try:
            for model in repository.iterdir():
                if model.is_dir():
                    _put(model, folder / model.name)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            raise ServerError(
                str(error.filename or repository),
                got=os.strerror(error.errno or 0),
                expected="a repository whose files can be read",
                remedy="write it again with toonify-export repository",
            ) from None

    def withdraw(self, name: str) -> None:
        """Take a model out; the server answers its accepted requests and refuses further ones within a second."""
        taken = self._taken(name)
        (self.folder / name).rename(taken)  # at once, so that the server never sees half of it
        for path in taken.iterdir():
            path.unlink()

    def keep_name(self, name: str) -> None:
        """Put the empty folder of a model taken out back, since Triton tells the states of existing folders only.

        The same folder, since there may be no room for another one on the disk.
        """
        self._taken(name).rename(self.folder / name)

    def _taken(self, name: str) -> Path:
        return self.folder.with_name(f"withdrawn_{name}")


def _put(model: Path, place: Path) -> None:
    """Copy a model's configuration, link its folders, and date it into the future.

    Triton reloads a model when any of its files is newer than the newest was, and importing ``model.py`` already writes
    a file, its byte code.
    """
    place.mkdir()
    for path in model.iterdir():
        if path.is_dir():
            (place / path.name).symlink_to(path.resolve())
        else:
            shutil.copyfile(path, place / path.name)
    os.utime(place, (_NEVER, _NEVER))
