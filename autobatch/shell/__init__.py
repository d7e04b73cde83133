"""Common to all commands: options, types of arguments, and where output goes."""
