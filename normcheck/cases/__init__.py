"""Floor 1: recipes for inputs, and the tensors that they regenerate bit for bit."""
