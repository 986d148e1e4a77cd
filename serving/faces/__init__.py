"""Faces in photographs: finding them, aligning them and pasting them back; reading and writing picture files."""
