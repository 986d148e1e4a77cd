"""From trained checkpoints to verified model directories: reading, blending and exporting networks."""
