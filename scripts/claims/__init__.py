"""A command for each claim that autobatch makes of itself."""
