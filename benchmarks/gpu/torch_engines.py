"""Networks in PyTorch as the GPU benchmark calls them: eagerly, or as bare CUDA graphs; and the profile of a call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.clock import captured
from engines.contract.arrays import AnyArray
from engines.contract.tensors import Signature
from engines.engine import BaseEngine
from engines.torch.cuda_graphs import Network, empty


def profiled(call: Callable[[], object], device: torch.device) -> list[tuple[str, int, float]]:
    """What one call runs on the device, by kernel: name, number of launches, microseconds of all of them."""
    gpu = device.type == "cuda"
    call()
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiler:
        call()
        if gpu:
            torch.cuda.synchronize(device)
    entries = [
        (entry.key, entry.count, float(entry.self_device_time_total if gpu else entry.self_cpu_time_total))
        for entry in profiler.key_averages()
    ]
    return sorted((entry for entry in entries if entry[2] > 0), key=lambda entry: -entry[2])


class GraphAlone(BaseEngine):
    """A network as one CUDA graph for each batch size; only ``run`` copies inputs into it."""

    def __init__(self, network: Network, signature: Signature, device: torch.device, batches: Collection[int]) -> None:
        super().__init__(signature)
        self._inputs = {
            batch: {spec.name: empty(spec, batch, device).zero_() for spec in signature.inputs} for batch in batches
        }
        self._replays = {batch: captured([partial(network, inputs)], device) for batch, inputs in self._inputs.items()}

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        batch = len(next(iter(inputs.values())))
        for name, value in inputs.items():
            self._inputs[batch][name].copy_(torch.from_numpy(value))
        (outputs,) = self._replays[batch]()
        return {name: value.cpu().numpy() for name, value in outputs.items()}

    def run_on_gpu(self, inputs: Mapping[str, Tensor]) -> None:
        """Replay the graph of the inputs' batch size on what ``run`` copied into it last."""
        self._replays[len(next(iter(inputs.values())))]()


class EagerEngine(BaseEngine):
    """A function of tensors as its users call it: copy the inputs to the GPU, run the network, copy the output back."""

    def __init__(self, signature: Signature, forward: Callable[..., Tensor], device: torch.device) -> None:
        super().__init__(signature)
        self._forward, self._device = forward, device

    def _run(self, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
        sent = {name: torch.from_numpy(value).to(self._device) for name, value in inputs.items()}
        return {name: value.cpu().numpy() for name, value in self.run_on_gpu(sent).items()}

    @torch.inference_mode()
    def run_on_gpu(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.signature.outputs[0].name: self._forward(*(inputs[spec.name] for spec in self.signature.inputs))}
