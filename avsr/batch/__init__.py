"""Many recordings in one call: which files, where their transcripts go, what came of them."""
