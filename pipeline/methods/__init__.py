"""One short module per paper: the objective that a training stage minimises."""
