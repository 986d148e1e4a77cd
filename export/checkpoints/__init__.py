"""Checkpoint files -> ``export.weights``, and back.

No reader runs anything from a file: pickles go through ``pickles.py``, which knows a table of inert stand-ins only.

    opening.py      path -> container (stored.py, pickles.py, stand_ins.py, torch_files.py, safetensors_files.py)
    reading.py      container -> network (rosinality.py, nvlabs.py, tensorflow.py, pixel2style2pixel.py, isf.py;
                    layout.py is what generators have in common, validation.py what is checked of all)
    writing.py      network -> file
    report.py       what a file holds
"""

from export.checkpoints.reading import read_checkpoint, read_encoder, read_generator, read_isf
from export.checkpoints.report import CheckpointReport, describe
from export.checkpoints.writing import write_encoder, write_generator_safetensors, write_isf, write_rosinality

__all__ = [
    "CheckpointReport",
    "describe",
    "read_checkpoint",
    "read_encoder",
    "read_generator",
    "read_isf",
    "write_encoder",
    "write_generator_safetensors",
    "write_isf",
    "write_rosinality",
]
