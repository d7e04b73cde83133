"""Where loading is the bound: the loader settings that train fastest, inside the host's memory.

own | 0  1  2  4 ... workers | prefetch 2, 4 | pinned | own and best again

job      the request: training steps with one way of loading
measure  those steps, timed in the worker
choose   timings in, the next way or the choice out; no PyTorch
examine  when to ask, and where the answer goes in the finding
"""
