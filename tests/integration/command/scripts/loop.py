"""A training loop in many variants, each with something that a watcher may stumble over."""

import argparse
import importlib.util
import os
import sys
import time

VARIANTS = {}


def variant(function):
    VARIANTS[function.__name__] = function
    return function


parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", "-b", type=int, default=8)
parser.add_argument("--test-batch-size", type=int, default=8)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--variant", default="plain")
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--out", default="")
options = parser.parse_args()
if options.variant == "asks_first":
    assert importlib.util.find_spec("torch") is not None

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

FEATURES, SAMPLES = 48, 4096


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, 10))


def make_loader(size, samples=SAMPLES):
    data = TensorDataset(torch.randn(samples, FEATURES), torch.randint(0, 10, (samples,)))
    return DataLoader(data, batch_size=size, shuffle=True, num_workers=options.workers)


def forever(loader):
    while True:
        yield from loader


def loss_of(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def make_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=options.lr)


@variant
def plain(size):
    model = make_model()
    optimizer = make_optimizer(model)
    for batch in forever(make_loader(size)):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


asks_first = variant(plain)
VARIANTS["asks_first"] = plain


@variant
def prefetches(size):
    """Fetches a batch ahead, so that the last step of an epoch ends after StopIteration."""

    def ahead(loader):
        waiting = None
        for batch in loader:
            if waiting is not None:
                yield waiting
            waiting = batch
        yield waiting

    model = make_model()
    optimizer = make_optimizer(model)
    while True:
        for batch in ahead(make_loader(size, samples=2 * size)):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()


@variant
def skips(size):
    model = make_model()
    optimizer = make_optimizer(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for number, batch in enumerate(forever(make_loader(size))):
        factor = float("inf") if number % 3 == 0 else 1.0
        optimizer.zero_grad()
        scaler.scale(loss_of(model, batch) * factor).backward()
        scaler.step(optimizer)
        scaler.update()


@variant
def accumulates(size):
    """Never more than 16 at once: larger sizes are divided."""
    passes = max(1, size // 16)
    model = make_model()
    optimizer = make_optimizer(model)
    batches = forever(make_loader(min(size, 16)))
    while True:
        optimizer.zero_grad()
        for _ in range(passes):
            (loss_of(model, next(batches)) / passes).backward()
        optimizer.step()


@variant
def four_passes(size):
    """Four passes a step at any size, and no loader."""
    model = make_model()
    optimizer = make_optimizer(model)
    while True:
        optimizer.zero_grad()
        for _ in range(4):
            time.sleep(0.005)
            model(torch.randn(size, FEATURES)).sum().backward()
        optimizer.step()


@variant
def without_optimizer(size):
    model = make_model()
    for batch in forever(make_loader(size)):
        model.zero_grad()
        loss_of(model, batch).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad


@variant
def without_backward(size):
    model = make_model()
    for batch in forever(make_loader(size)):
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss_of(model, batch), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.05 * gradient


@variant
def optimizer_in_backward(size):
    model = make_model()
    each = {parameter: torch.optim.SGD([parameter], lr=0.05) for parameter in model.parameters()}

    def step(parameter):
        each[parameter].step()
        each[parameter].zero_grad()

    for parameter in each:
        parameter.register_post_accumulate_grad_hook(step)
    for batch in forever(make_loader(size)):
        loss_of(model, batch).backward()


@variant
def two_optimizers(size):
    first, second = make_model(), make_model()
    optimizers = [torch.optim.Adam(model.parameters(), lr=options.lr) for model in (first, second)]
    for batch in forever(make_loader(size)):
        for model, optimizer in zip((first, second), optimizers, strict=True):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            loss_of(model, batch).backward()
            optimizer.step()


@variant
def fails_beyond_64(size):
    assert size <= 64, f"{size} is more than 64 heads"
    plain(size)


@variant
def evaluates(size):
    """Evaluates before the first step and after every third, which takes longer than a step."""
    model = make_model()
    optimizer = make_optimizer(model)

    def evaluate():
        with torch.no_grad():
            model(torch.randn(1024, FEATURES))
            time.sleep(0.3)

    evaluate()
    for number, batch in enumerate(forever(make_loader(size))):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
        if number % 3 == 2:
            evaluate()


@variant
def batch_in_the_middle(size):
    """The batch is dimension 1, and there is no loader."""
    model = nn.LSTM(FEATURES, 16)
    optimizer = make_optimizer(model)
    while True:
        optimizer.zero_grad()
        model(torch.randn(7, size, FEATURES))[0].sum().backward()
        optimizer.step()


@variant
def saves(size):
    """Saves over what is there at every step, beside a log that is new."""
    model = make_model()
    optimizer = make_optimizer(model)
    for batch in forever(make_loader(size)):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
        os.makedirs("logs", exist_ok=True)
        open("logs/new.txt", "w").close()
        torch.save(model.state_dict(), options.out or "model.pt")


@variant
def forks(size):
    """Trains in a forked child of the process that has imported PyTorch."""
    child = os.fork()
    if child == 0:
        plain(size)
    os.waitpid(child, 0)


@variant
def scales_its_rate(size):
    options.lr = 0.01 * size / 16
    model = make_model()
    optimizer = make_optimizer(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 1000))
    for batch in forever(make_loader(size)):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
        schedule.step()


@variant
def ends_soon(size):
    """Trains for one epoch of 12 steps, and is done."""
    model = make_model()
    optimizer = make_optimizer(model)
    for batch in make_loader(size, samples=12 * size):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@variant
def never_trains(size):
    print("nothing to do")
    sys.exit(3)


@variant
def ends_at_once(size):
    model = make_model()
    optimizer = make_optimizer(model)
    model(torch.randn(size, FEATURES)).sum().backward()
    optimizer.step()


@variant
def asks_the_user(size):
    input("Overwrite the folder? ")


@variant
def on_another_device(size):
    model = make_model().to("meta")
    optimizer = make_optimizer(model)
    while True:
        optimizer.zero_grad()
        model(torch.empty(size, FEATURES, device="meta")).sum().backward()
        optimizer.step()


@variant
def compiled_step(size):
    model = make_model()
    optimizer = make_optimizer(model)
    step = torch.compile(lambda: optimizer.step(), backend="eager")
    for batch in forever(make_loader(size)):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        step()


@variant
def compiled_model(size):
    """Breaks off where dynamo cannot take all of the model into one graph."""
    model = make_model()
    optimizer = make_optimizer(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for batch in forever(make_loader(size)):
        optimizer.zero_grad()
        loss_of(compiled, batch).backward()
        optimizer.step()


if __name__ == "__main__":
    VARIANTS[options.variant](options.batch_size)
