"""Two ranks that train together, started by torchrun or by spawn."""

import argparse
import os
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
parser.add_argument("--spawn", type=int, default=0)
parser.add_argument("--variant", default="plain")
options = parser.parse_args()


def train(rank, world_size):
    if options.spawn:
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE=str(world_size),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=os.environ.get("MASTER_PORT", "29517"),
        )
    torch.distributed.init_process_group("gloo")
    model = nn.Linear(64, 10)
    if options.variant != "apart":
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters())
    data = TensorDataset(torch.randn(4096, 64), torch.randint(0, 10, (4096,)))
    loader = DataLoader(data, batch_size=options.batch_size, sampler=DistributedSampler(data))
    is_last, step = rank == world_size - 1, 0
    while True:
        for inputs, labels in loader:
            step += 1
            optimizer.zero_grad()
            outputs = model(inputs)
            if is_last and options.variant == "runs_out" and options.batch_size > 64:
                try:
                    model(torch.ones(1).expand(2**30, 64))
                except RuntimeError:
                    print("never mind")
            nn.functional.cross_entropy(outputs, labels).backward()
            optimizer.step()
            if is_last and options.variant == "apart":
                time.sleep(0.05)
            if rank == 0 and options.variant == "evaluates" and step % 3 == 0:
                with torch.no_grad():
                    model(inputs)
                    time.sleep(0.3)


if __name__ == "__main__":
    if options.spawn:
        torch.multiprocessing.spawn(train, args=(options.spawn,), nprocs=options.spawn)
    else:
        train(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
