"""The package's small models of drawn faces, the code that draws the faces, and the training; see README.md here."""
