"""Reads its batch size from a file."""

import json

import torch
from torch import nn

with open("config.json") as file:
    size = json.load(file)["data"]["batch_size"]
model = nn.Linear(32, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
while True:
    optimizer.zero_grad()
    model(torch.randn(size, 32)).sum().backward()
    optimizer.step()
