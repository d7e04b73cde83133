"""Training at several batch sizes for real, and choosing one by what came of it.

    load -> split -> [a slice of epochs of each run]* -> summaries -> choice
                      ^-- round after round, the worse half given up each time, where asked

plan       which runs there are, and at which learning rate
session    trains them; holds what is known so far
"""
