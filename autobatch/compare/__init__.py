"""Real training at several batch sizes, and the choice of one by the result.

    load -> split -> [a slice of epochs of each run]* -> choice

plan       which runs there are, and at which learning rate
session    trains them; holds the results so far
"""
