"""Two ranks that train together, by torchrun or by spawn."""

import argparse
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
parser.add_argument("--spawn", type=int, default=0)
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
    model = nn.parallel.DistributedDataParallel(nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    data = TensorDataset(torch.randn(4096, 64), torch.randint(0, 10, (4096,)))
    loader = DataLoader(data, batch_size=options.batch_size, sampler=DistributedSampler(data))
    while True:
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()


if __name__ == "__main__":
    if options.spawn:
        torch.multiprocessing.spawn(train, args=(options.spawn,), nprocs=options.spawn)
    else:
        train(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
