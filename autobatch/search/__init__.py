"""Which size to run next, from the trials so far. Pure functions; no PyTorch, no clock.

grid       the sizes that may be tried
bracket    what is known: the largest that fitted, the smallest that was refuted
plateau    whether more would still be faster
step       the next size to run, or why there is none
contest    which sizes to time again, in turn, before deciding between them
"""
