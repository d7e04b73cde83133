"""Is accumulation the same? The gradient of one batch against that of its parts.

job      the request: a batch, and how many passes to split it into
measure  the gradients, in the worker
batch    the parts of a batch
examine  when to ask, and what to say in the finding
"""
