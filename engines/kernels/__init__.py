"""Fused GPU kernels for the generator's 1024 path and for encoders, in OpenAI's language Triton (package ``triton``).

A convolution's tail is its epilogue: everything between its sums and the next convolution's input.

| module | one pass over |
|---|---|
| ``styles`` | the codes: every layer's style; then every convolution's demodulation |
| ``tail`` | a convolution's output: FIR filter if the size doubled, demodulation, noise, bias, activation, style |
| ``to_rgb`` | a convolution's output: the tail, and ToRGB added to the images of lower resolutions, or the picture |
| ``conv_sums`` | a small map: the 3x3 convolution, each tap's sums apart; ``to_rgb`` adds them |
| ``conv_rgb`` | a convolution's input: the 3x3 convolution with its tail and ToRGB |
| ``conv_rgb_rows`` | the same of narrow maps, row by row, with the weights kept in shared memory |
| ``conv_up`` | an up-convolution's input: the convolution with its FIR filter and tail |
| ``excitation`` | the last map of an encoder's residual unit: its gates, the product with them, the shortcut |

``reference`` has the formulas in plain PyTorch, ``weights`` converts a network's weights to the kernels' operands,
``shared_memory`` says how much of it a block may take, and ``ahead_of_time`` compiles a launch to PTX without a GPU,
for those that ``capabilities`` names. Maps are float16 [N, C, H, W] in channels_last, of any size; memory is accessed
16 bytes at a time if C is a multiple of 8. Styles, demodulation, biases and all sums are float32, the weights that
styles are made of float16.

The activation's gain sqrt 2 is folded into demodulation, noise and bias, as in the exported ONNX functions. With
TRITON_INTERPRET=1 in the environment before the first import, the kernels run on a CPU in Triton's interpreter.
"""
