"""Scripts that train when they are run, and files that train while they are loaded."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from autobatch.records import Settings
from autobatch.workload.task import load_task
from autobatch.workload.training_watch import TrainingStopped, TrainingWatch

SCRIPT = """
import argparse
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)

def train(epochs=1):
    net = Net()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(1000):
        net(torch.zeros(2, 4)).sum().backward()
        opt.step()
        print("step", flush=True)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch-size", type=int)
    train()
"""
COMMAND = "autobatch probe -- python {path} --batch-size {{batch_size}}"


@pytest.mark.parametrize("has_model", [True, False])
def test_a_script_is_pointed_to_its_own_command(
    has_model: bool, write: Callable[..., str], error_of: Any
) -> None:
    path = write(SCRIPT if has_model else SCRIPT.replace("(nn.Module)", ""))
    error = error_of(load_task, path, Settings())
    assert "it is a script, which trains when it is run" in str(error)
    assert "missing: " in str(error)
    assert COMMAND.format(path=path) in error.hint
    assert "autobatch.find_batch_size(model, train_loader, loss, optimizer)" in error.hint


def test_what_was_found_in_a_script_is_named(write: Callable[..., str], error_of: Any) -> None:
    assert "found model (the class Net); missing: data" in str(
        error_of(load_task, write(SCRIPT), Settings())
    )


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--batch-size", " --batch-size {batch_size}"),
        ("--per_device_train_batch_size", " --per_device_train_batch_size {batch_size}"),
        ("--bs", " --bs {batch_size}"),
        ("--size", ""),
        ("--batch-size-schedule", ""),
    ],
)
def test_the_option_is_the_scripts_own(
    option: str, text: str, write: Callable[..., str], error_of: Any
) -> None:
    path = write(SCRIPT.replace('"--batch-size"', f'"{option}"'))
    hint = error_of(load_task, path, Settings()).hint
    assert f"autobatch probe -- python {path}{text}, or" in hint


def test_a_file_that_is_no_script_is_not_told_to_be_one(
    write: Callable[..., str], error_of: Any
) -> None:
    error = error_of(load_task, write("import torch\nmodel = torch.nn.Linear(4, 3)\n"), Settings())
    assert "it is a script" not in str(error)
    assert "python" not in error.hint


def test_tensors_beside_a_model_are_a_line_away_from_a_dataset(
    write: Callable[..., str], error_of: Any
) -> None:
    path = write(
        "import torch\nmodel = torch.nn.Linear(4, 3)\nX_train = torch.zeros(9, 4)\n"
        "y_train = torch.zeros(9)\n"
    )
    line = "dataset = torch.utils.data.TensorDataset(X_train, y_train)"
    assert error_of(load_task, path, Settings()).hint == f"add the line: {line}"
    path = write(
        "import torch\nmodel = torch.nn.Linear(4, 3)\nX_train = torch.zeros(9, 4)\n"
        f"y_train = torch.zeros(9)\n{line}\n",
        "mended.py",
    )
    assert load_task(path, Settings()).source.dataset_size == 9


def test_a_command_line_that_is_missing_points_to_the_command(
    write: Callable[..., str], error_of: Any
) -> None:
    path = write(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--batch_size', required=True)\nargs = parser.parse_args()\n"
    )
    error = error_of(load_task, path, Settings())
    assert "sys.exit(2)" in str(error)
    assert f"python {path} --batch_size {{batch_size}}" in error.hint


def test_a_function_that_trains_is_stopped_at_once(
    write: Callable[..., str], error_of: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(SCRIPT)
    error = error_of(load_task, f"{path}:train", Settings())
    assert "train() trains" in str(error)
    assert COMMAND.format(path=path) in error.hint
    assert capfd.readouterr().out.count("step") <= 1


def test_a_function_that_returns_nothing_made_no_model(
    write: Callable[..., str], error_of: Any
) -> None:
    error = error_of(load_task, write("def main(): pass\n") + ":main", Settings())
    assert "main() returned None, not a model" in str(error)


FLAT = """
import time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

trainloader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(3, (64,))), 16)
net = nn.Linear(4, 3)
criterion = nn.CrossEntropyLoss()
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for epoch in range({epochs}):
    for inputs, labels in trainloader:
        opt.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        opt.step()  # line 16
        time.sleep({pause})
print("trained to the end", flush=True)
"""


def test_a_file_that_trains_is_told_of_it_and_loaded_all_the_same(
    write: Callable[..., str],
) -> None:
    task = load_task(write(textwrap.dedent(FLAT.format(epochs=2, pause=0))), Settings())
    *_, trained = task.guesses
    assert trained.startswith("loading trained: it ran 8 optimizer steps from line 16 in ")
    assert trained.endswith("put the training under if __name__ == '__main__':")
    assert "stopped" not in trained
    assert not task.built.optimizer.state  # a trial begins as a training does
    assert task.model.weight.grad is None


def test_a_long_training_is_stopped_and_what_it_defined_is_used(
    write: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    task = load_task(write(textwrap.dedent(FLAT.format(epochs=1000, pause=0.1))), Settings())
    assert "and was stopped there; put the training under" in task.guesses[-1]
    assert task.source.dataset_size == 64
    assert type(task.built.optimizer).__name__ == "SGD"
    assert "trained to the end" not in capfd.readouterr().out


def test_what_is_missing_from_a_file_that_trains_is_told_with_it(
    write: Callable[..., str], error_of: Any
) -> None:
    code = textwrap.dedent(FLAT.format(epochs=1, pause=0)) + "del net\n"
    error = error_of(load_task, write(code), Settings())
    assert "missing: a model" in str(error)
    assert "loading trained: it ran 4 optimizer steps" in str(error)


def test_training_is_stopped_once_its_time_is_up() -> None:
    seconds = iter([10.0, 10.0, 10.5, 11.5])
    optimizer = torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.1)
    watch = TrainingWatch("model.py", clock=lambda: next(seconds))
    with watch:
        optimizer.step()
        optimizer.step()
        with pytest.raises(TrainingStopped):
            optimizer.step()
    optimizer.step()  # no longer watched
    assert watch.num_steps == 2
    assert "2 optimizer steps in 1.5 s and was stopped there" in watch.describe()


def test_a_module_is_left_to_train_to_its_end() -> None:
    seconds = iter([10.0, 10.0, 99.0])
    optimizer = torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.1)
    with TrainingWatch("package.module", can_stop=False, clock=lambda: next(seconds)) as watch:
        optimizer.step()
        optimizer.step()
    assert watch.num_steps == 2
    assert "stopped" not in watch.describe()


def test_a_file_that_does_not_train_has_nothing_to_tell() -> None:
    assert TrainingWatch("model.py").describe() == ""
