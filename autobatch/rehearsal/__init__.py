"""A rehearsal: what a training does late, run before it, inside the enforced budget.

largest samples | shuffled steps ........... | evaluation | saving a checkpoint

job         the request
stages      the parts, one after the other, in the worker
stage       one part, held against the budget
soak        shuffled steps, and what their growth comes to
evaluation  the workload's own evaluation, on more and more samples
examine     a search whose answer has passed its rehearsal
"""
