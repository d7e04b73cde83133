"""Runs in which something goes wrong, hundreds of them."""
