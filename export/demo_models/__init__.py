"""The package's small models, the characters that they are trained on, and the training; see README.md here."""
