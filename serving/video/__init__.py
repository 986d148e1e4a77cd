"""Videos: reading, toonifying and writing them, frame by frame."""
