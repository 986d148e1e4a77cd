"""Reading, blending and exporting trained networks: from checkpoints to verified model directories."""
