"""What pyproject.toml cannot say yet: the libraries of engines.winograd, one for each kind of processor.

They are plain libraries for ctypes. Without a C++ compiler, or on another machine than x86-64, the package is installed
without them.
"""

from setuptools import Extension, setup

PROCESSORS = {
    "avx512vnni": ["-march=x86-64-v4", "-mavx512vnni"],
    "avx512": ["-march=x86-64-v4"],
    "avx2": ["-march=x86-64-v3"],
}
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fopenmp",
    # Python's own flags have -fwrapv, which costs 6 %.
    "-fno-wrapv",
    # Multiplications and additions in one instruction; no care for errno, the sign of zero and traps.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
]

setup(
    ext_modules=[
        Extension(
            f"engines.winograd.{name}",
            ["engines/winograd/library.cpp"],
            language="c++",
            extra_compile_args=[*flags, *FLAGS],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
        for name, flags in PROCESSORS.items()
    ]
)
