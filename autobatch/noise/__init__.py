"""How noisy the gradient is, and what a sample is worth at each batch size."""
