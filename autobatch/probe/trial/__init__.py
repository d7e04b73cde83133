"""What happens in a trial."""
