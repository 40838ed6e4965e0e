"""Who speaks when, and what each of them says."""
