"""One ``openvino.Core`` for a process."""

from __future__ import annotations

from functools import cache
from threading import Lock

import openvino

_ONE_AT_A_TIME = Lock()


def shared_core() -> openvino.Core:
    """The core that every model of this process shares; its methods can be called from several threads.

    A core gives the thread that first uses it a stack for signal handlers, and frees this stack when the core and its
    models are gone. Unless cores go in the reverse order of their creation, and on the threads that created them, a
    thread is left with a freed stack, and the next signal, such as that of Ctrl-C, ends the process with SIGSEGV
    (``SigAltStackSetup`` in OpenVINO's CPU plugin). Hence no core is ever dropped.
    """
    with _ONE_AT_A_TIME:
        return _core()


@cache
def _core() -> openvino.Core:
    return openvino.Core()
