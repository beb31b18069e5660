"""Floor 2: from what a user names to something that can be called with an op's parameters."""
