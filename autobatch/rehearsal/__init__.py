"""A rehearsal: what a training does late, run before it, inside the enforced budget.

largest samples | shuffled steps ........... | evaluation | saving a checkpoint

job      the request
stages   the parts, one after the other, in the worker
examine  a search whose answer has passed its rehearsal
"""
