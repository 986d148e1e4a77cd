"""Small models of drawn faces that come with the package, the drawings, and the training; see README.md here."""
