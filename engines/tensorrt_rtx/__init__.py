"""Engines of TensorRT for RTX, which are built on any machine and compiled for the GPU where they are loaded.

| module | does |
|---|---|
| ``build`` | builds one engine of native layers for all batch sizes; needs no GPU |
| ``loading`` | finds library and GPU, and checks version, GPU and header before it loads an engine |
| ``engine`` | runs it, by the code of ``engines.tensorrt.engine`` |
| ``runtime_cache`` | keeps what was compiled for the GPU |

``engines.rtx_metadata`` describes which GPUs an engine runs on, and whether it was verified on one.
"""
