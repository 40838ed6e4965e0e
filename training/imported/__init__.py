"""Research networks that were imported, trained on: what such a run starts from and minimises."""
