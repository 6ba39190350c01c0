"""From a person's files to pixels, and which image belongs to which mask."""
