"""Faces in photographs: finding, aligning and pasting them back, and the pictures' files."""
