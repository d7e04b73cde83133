"""A training step on a GPU that is not here: every allocation, and no memory.

    load for real on the CPU, initialisers off -> swap in fake CUDA tensors -> two steps -> Trace

PyTorch's fake tensors know device, type and shape, and have no memory. ``Tracer`` runs all of it in
a process of its own, which may hang or crash.
"""
