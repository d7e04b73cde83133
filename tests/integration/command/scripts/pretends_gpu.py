"""Trains on a GPU that is pretended: PyTorch's functions for CUDA are replaced, its build has none.

The GPU has 10 GiB, 8 of them free. A step takes it 20 ms, whatever the script does meanwhile, and
1 GiB beside 8 MiB for each sample.
"""

import argparse
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--catches", action="store_true")
parser.add_argument("--captures", action="store_true")
options = parser.parse_args()
MIB, GIB, STEP_S, LEAD_S = 2**20, 2**30, 0.02, 0.3
TOTAL, FREE = 10 * GIB, 8 * GIB


class Gpu:
    busy_until_s = 0.0
    reserved = peak = 0
    fraction = 1.0

    def run_step(self, size):
        self.reserved = GIB + 8 * MIB * size
        if self.reserved > self.fraction * TOTAL:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.peak = max(self.peak, self.reserved)
        self.busy_until_s = max(self.busy_until_s, time.perf_counter()) + STEP_S
        time.sleep(max(0.0, self.busy_until_s - time.perf_counter() - LEAD_S))  # its queue is full

    def set_fraction(self, fraction, index):
        self.fraction = fraction

    def empty_cache(self):
        self.reserved = 0

    def reset_peak(self, index):
        self.peak = 0


class Event:
    def __init__(self, enable_timing):
        pass

    def record(self, stream):
        self.at_s = gpu.busy_until_s

    def query(self):
        return time.perf_counter() >= self.at_s

    def elapsed_time(self, later):
        return 1000 * (later.at_s - self.at_s)


class OnGpu(nn.Parameter):
    device = property(lambda self: torch.device("cuda:0"))


class Layer(nn.Linear):
    def __init__(self):
        super().__init__(16, 4)
        self.weight, self.bias = OnGpu(self.weight.data), OnGpu(self.bias.data)

    def forward(self, inputs):
        gpu.run_step(len(inputs))
        return super().forward(inputs)


gpu = Gpu()
replaced = {
    "current_device": lambda: 0,
    "mem_get_info": lambda index: (FREE - gpu.reserved, TOTAL),
    "get_device_name": lambda index: "Pretended GPU",
    "set_per_process_memory_fraction": gpu.set_fraction,
    "memory_reserved": lambda index: gpu.reserved,
    "max_memory_reserved": lambda index: gpu.peak,
    "max_memory_allocated": lambda index: gpu.peak // 2,
    "is_current_stream_capturing": lambda: options.captures,
    "current_stream": lambda index: None,
    "empty_cache": gpu.empty_cache,
    "reset_peak_memory_stats": gpu.reset_peak,
    "Event": Event,
}
for name, function in replaced.items():
    setattr(torch.cuda, name, function)
for call, _ in torch.cuda._queued_calls:  # as CUDA starts, with what others queued
    if "autobatch" in call.__module__:
        call()

model = Layer()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
data = TensorDataset(torch.randn(4096, 16), torch.randint(0, 4, (4096,)))
while True:
    for inputs, labels in DataLoader(data, batch_size=options.batch_size):
        try:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        except torch.OutOfMemoryError:
            if not options.catches:
                raise
