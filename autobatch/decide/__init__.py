"""Numbers in, a curve out. No PyTorch here.

memory        peak against batch size: flat, then a line
throughput    step time against batch size
noise         how noisy the gradient is, from sums of gradients of micro-batches
rates         which size is how much faster than which, from steps timed in turn
"""
