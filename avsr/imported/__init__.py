"""Research networks whose weights a user brings: layers, files, what they expect of a clip."""
