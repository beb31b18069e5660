"""Floor 2: calling a target and writing down everything that it did."""
