"""From files to the batches that a network sees."""
