"""Numbers in, a curve out. No PyTorch here.

memory        peak against batch size: flat, then a line
throughput    step time against batch size
rates         which size is how much faster than which, from steps timed in turn
"""
