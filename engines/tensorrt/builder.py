"""One build of TensorRT or of TensorRT for RTX, whose Python packages have the same classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from engines.contract.errors import EngineError
from engines.contract.tensors import Signature

if TYPE_CHECKING:
    import tensorrt as trt

Report = Callable[[str], None]


class Build:
    """A parsed graph and the configuration of its build.

    Networks are strongly typed: the graph determines the precision.

    Args:
        library: the package ``tensorrt``, or that of TensorRT for RTX.
        graph: the graph to build.
        report: called with the progress of the build.
        remedy: the remedy in errors about a graph that the library refuses.

    Raises:
        EngineError: the parser refuses the graph.
    """

    def __init__(self, library: ModuleType, graph: ModelProto, report: Report, *, remedy: str) -> None:
        self._remedy = remedy
        logger = library.Logger(library.Logger.Severity.WARNING)
        self.builder: trt.Builder = library.Builder(logger)
        self.network: trt.INetworkDefinition = self.builder.create_network(network_flags(library))
        self._parse(library.OnnxParser(self.network, logger), graph)
        self.config: trt.IBuilderConfig = self.builder.create_builder_config()
        # TF32 is on by default and would cut the float32 of styles and ISF heads to ten bits of mantissa.
        self.config.clear_flag(library.BuilderFlag.TF32)
        self._monitor = progress_monitor(library, report)
        self.config.progress_monitor = self._monitor

    def _parse(self, parser: trt.OnnxParser, graph: ModelProto) -> None:
        if not parser.parse(graph.SerializeToString()):
            errors: Sequence[object] = [parser.get_error(index) for index in range(parser.num_errors)]
            raise self._error(f"the parser's error {errors[0]}" if errors else "no network")

    def allow_batches(self, signature: Signature, batches: Sequence[int]) -> None:
        """Allow batch sizes from 1 to the largest; layers are optimised for the middle one."""
        middle, largest = sorted(batches)[len(batches) // 2], max(batches)
        profile: trt.IOptimizationProfile = self.builder.create_optimization_profile()
        for spec in signature.inputs:
            profile.set_shape(spec.name, *((batch, *spec.dims) for batch in (1, middle, largest)))
        self.config.add_optimization_profile(profile)

    def serialised(self) -> bytes:
        """Build, and return the engine's bytes.

        Raises:
            EngineError: the library refuses the network.
        """
        plan = self.builder.build_serialized_network(self.network, self.config)
        if self._monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise self._error("no engine")
        return bytes(plan)

    def _error(self, got: str) -> EngineError:
        return EngineError(
            "the model in TensorRT", got=got, expected="a network that it can build", remedy=self._remedy
        )


def network_flags(library: ModuleType) -> int:
    """The flag for strong typing, by name since its number differs in TensorRT 11; 0 if typing is always strong."""
    flag = library.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    return 0 if flag is None else 1 << int(flag)


def progress_monitor(library: ModuleType, report: Report) -> Any:
    """The library's ``IProgressMonitor`` that reports each tenth of every phase; ``interrupted`` is set by Ctrl-C."""

    class ProgressMonitor(library.IProgressMonitor):  # type: ignore[misc,name-defined]
        """No exception may propagate from its methods through the library's C++."""

        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Return whether to continue, which is False after Ctrl-C."""
            count = self._steps.get(phase_name, 0)
            try:
                if count and 10 * (step + 1) // count > 10 * step // count:
                    report(f"{phase_name}, {step + 1} of {count}")
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return ProgressMonitor()
