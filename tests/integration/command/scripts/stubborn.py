"""Catches all that would end it, and saves whatever happens."""

import argparse
import atexit
import signal
import sys
import time

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
size = parser.parse_args().batch_size
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: print("not now"))
atexit.register(lambda: open("ATEXIT", "w").close())
model = nn.Linear(32, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
while True:
    try:
        try:
            while True:
                optimizer.zero_grad()
                model(torch.randn(size, 32)).sum().backward()
                optimizer.step()
                time.sleep(0.002)
        finally:
            torch.save(model.state_dict(), "model.pt")
    except BaseException as error:
        print("going on after", repr(error), file=sys.stderr)
        open("RESCUED", "w").close()
