"""Floor 0: formats, rounding, reference arithmetic, error budgets and acceptance."""
