"""Halves its batch where memory runs out, as trainers with a batch size of their own do."""

import argparse
import sys

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
parser.add_argument("--where", default="step")
arguments = parser.parse_args()
size = arguments.batch_size
model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))
optimizer = torch.optim.Adam(model.parameters())
while True:
    try:
        inputs = torch.ones(size, 1000)
        optimizer.zero_grad()
        outputs = model(inputs)
        if arguments.where == "step":
            outputs.sum().backward()
            optimizer.step()
        else:
            (outputs[:, None, :] * inputs[:, :, None]).sum().backward()
    except RuntimeError as error:
        if arguments.where == "exit":
            print("it failed")
            sys.exit(1)
        print("halving", error)
        size //= 2
