"""Floor 1: one file per op; what is computed, on which axes, with which parameters."""
