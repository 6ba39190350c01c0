"""From a plan to trained weights, also after an interruption."""
