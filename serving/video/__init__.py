"""Videos and live streams: reading, toonifying and writing them, frame by frame."""
