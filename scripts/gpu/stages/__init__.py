"""The stages of ``scripts/gpu/prove.py``; each writes what it has measured as soon as it has."""
