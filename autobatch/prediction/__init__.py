"""What a GPU that is not here would do."""
