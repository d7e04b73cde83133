"""The gradient noise scale, and the value of a sample at each batch size."""
