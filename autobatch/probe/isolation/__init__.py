"""What keeps a trial apart, and what is put back."""
