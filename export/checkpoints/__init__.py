"""Reading checkpoint files into ``export.weights``, and writing them.

No reader runs code from a file: pickles go through ``pickles.py``, which knows only a table of inert stand-ins.

    opening.py      path -> container (torch_files.py, pickles.py, stand_ins.py, safetensors_files.py,
                    stored_tensors.py)
    reading.py      container -> network (rosinality.py, nvlabs.py, tensorflow.py, stylegan1.py, pixel2style2pixel.py
                    with encoder_shapes.py, isf.py, classifier.py; layout.py and stylegan1_layout.py hold what generator
                    formats share, labels.py folds a class into a conditional generator, validation.py has the checks
                    on every network, relatives.py refuses known networks of other kinds, left_out.py names the tensors
                    that no reader used)
    directions.py   files of linear directions -> the weights of an editing head
    writing.py      network -> file
    report.py       summary of a file
"""

from export.checkpoints.reading import (
    read_checkpoint,
    read_classifier,
    read_decoder,
    read_encoder,
    read_generator,
    read_isf,
)
from export.checkpoints.report import CheckpointReport, describe
from export.checkpoints.writing import write_encoder, write_generator_safetensors, write_isf, write_rosinality

__all__ = [
    "CheckpointReport",
    "describe",
    "read_checkpoint",
    "read_classifier",
    "read_decoder",
    "read_encoder",
    "read_generator",
    "read_isf",
    "write_encoder",
    "write_generator_safetensors",
    "write_isf",
    "write_rosinality",
]
