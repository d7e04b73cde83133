"""Trains with Hugging Face Accelerate, by one process or by several."""

import argparse

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--accumulate", type=int, default=1)
options = parser.parse_args()
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=options.accumulate)
model = nn.Sequential(nn.Linear(48, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
data = TensorDataset(torch.randn(4096, 48), torch.randint(0, 10, (4096,)))
loader = DataLoader(data, batch_size=options.batch_size, shuffle=True)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
for _ in range(1000):
    for inputs, labels in loader:
        with accelerator.accumulate(model):
            accelerator.backward(nn.functional.cross_entropy(model(inputs), labels))
            optimizer.step()
            optimizer.zero_grad()
    schedule.step()
    accelerator.save_state("state")
