"""The process that answers."""
