"""What ran out of memory, when a training does so all the same.

scene    the frames of the traceback: which module ran, on what, and whose training it was
memory   what was asked for, what was held, which limit bound
explain  both in words
guard    the context manager and the hook
"""
