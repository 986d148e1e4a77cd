"""TensorRT plans of exported models; a generator's plan consists of native layers and plugins with fused kernels.

| module | does |
|---|---|
| ``operators`` | defines the plugins' inputs and outputs |
| ``functions`` | expresses the operators in standard ONNX |
| ``graph`` | writes the graphs to build, with ``styles`` |
| ``plugins`` | describes the operators to TensorRT and compiles their kernels |
| ``builder`` | parses and builds one graph, also for TensorRT for RTX |
| ``build`` | builds a plan for each batch size, for this GPU; ``options`` are its options |
| ``engine`` | runs the plans; ``loading`` checks them before |
| ``device``, ``cuda_graph`` | use the GPU without PyTorch |

A plan holds its plugins' kernels as PTX, so that it runs wherever TensorRT does, without this package.
``engines.plan_metadata`` describes which GPUs it runs on.
"""
