"""OpenVINO on a CPU, without its reports of use.

Whenever it is imported, OpenVINO reports so to a server on the internet, from a process that it forks in a thread. A
fork of a process with threads may wait for a lock for ever, and then holds the process's pipes open. OpenVINO leaves
its reports out where the package ``openvino_telemetry`` cannot be imported.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None stands for a failing import
