"""Timings of all sizes recorded once, and searches replayed from them."""
