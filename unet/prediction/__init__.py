"""A trained run: images of any size, scores, comparison, run-length code, export."""
