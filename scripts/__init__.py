"""What proves the claims of the README, and what finds faults: a command for each."""
