"""What the commands share: options, types of arguments, and where output goes."""
