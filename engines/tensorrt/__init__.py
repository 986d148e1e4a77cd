"""TensorRT plans of exported models; a generator's are native layers around plugins with this package's kernels.

| module | does |
|---|---|
| ``operators`` | names what the plugins take and give |
| ``functions`` | says the same in standard ONNX operators |
| ``graph`` | writes the graphs to build, with ``graph_writer`` and ``styles`` |
| ``plugins`` | describes the operators to TensorRT and compiles their kernels |
| ``build`` | builds a plan for each batch size, for this GPU |
| ``facts`` | says where a plan runs |
| ``device``, ``cuda_graph`` | the GPU without PyTorch |

``engines.tensorrt.engine`` runs the plans. A plan holds its plugins' kernels as PTX, so that it runs wherever TensorRT
does, without this package.
"""
