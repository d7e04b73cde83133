"""Objects under names of the user's own: found by type, by name and by use, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

DATA = """
from torch.utils.data import DataLoader, TensorDataset, random_split
data = TensorDataset(torch.randn(64, 4), torch.randint(3, (64,)))
"""
LOADERS = DATA + "trainloader = DataLoader(data, batch_size=16)\ntestloader = DataLoader(data, 8)\n"


def test_the_names_of_tutorials_are_understood(find: Any) -> None:
    workload, guesses = find(
        LOADERS
        + """
net = nn.Linear(4, 3)
criterion = nn.CrossEntropyLoss()
opt = torch.optim.SGD(net.parameters(), lr=0.1)
"""
    )
    assert isinstance(workload.model, torch.nn.Linear)
    assert isinstance(workload.loss, torch.nn.CrossEntropyLoss)
    assert isinstance(workload.optimizer, torch.optim.SGD)
    assert workload.train_loader.batch_size == 16
    assert guesses == [
        "net is the model, as the only model in the file",
        "criterion is the loss, as the only loss in the file",
        "opt is the optimizer, as the only optimizer in the file",
        "trainloader is the train_loader, by its name, beside testloader",
    ]


def test_names_that_say_nothing_are_understood_by_type(find: Any) -> None:
    workload, guesses = find(
        DATA
        + """
a = nn.Linear(4, 3)
b = nn.MSELoss()
c = torch.optim.Adam(a.parameters())
d = DataLoader(data, batch_size=16)
"""
    )
    assert isinstance(workload.model, torch.nn.Linear)
    assert isinstance(workload.loss, torch.nn.MSELoss)
    assert isinstance(workload.optimizer, torch.optim.Adam)
    assert workload.train_loader.batch_size == 16
    assert len(guesses) == 4


@pytest.mark.parametrize(
    "names",
    [
        ("train_loader_a", "val_loader"),
        ("train_dl", "valid_dl"),
        ("dataloader", "eval_dataloader"),
        ("loader", "test_loader"),
        ("trainloader", "devloader"),
        ("device_loader", "validation_loader"),
        ("train_x", "other"),
    ],
)
def test_of_two_loaders_the_one_that_trains_is_taken_by_name(
    names: tuple[str, str], find: Any
) -> None:
    code = DATA + "model = nn.Linear(4, 3)\n"
    first, second = (f"{name} = DataLoader(data, batch_size={len(name)})\n" for name in names)
    for order in (first + second, second + first):
        workload, guesses = find(code + order)
        assert workload.train_loader.batch_size == len(names[0])
        assert guesses[-1] == f"{names[0]} is the train_loader, by its name, beside {names[1]}"


def test_loaders_in_a_dictionary_are_found(find: Any) -> None:
    workload, guesses = find(
        DATA
        + """
model = nn.Linear(4, 3)
loaders = {name: DataLoader(data, batch_size=4 if name == "train" else 8)
           for name in ("val", "train")}
"""
    )
    assert workload.train_loader.batch_size == 4
    assert "loaders['train'] is the train_loader, by its name, beside loaders['val']" in guesses


@pytest.mark.parametrize(
    ("code", "what", "hint"),
    [
        (
            DATA + "a = DataLoader(data)\nb = DataLoader(data)",
            "several loaders: a, b",
            "add the line that says which: train_loader = a",
        ),
        (
            "from torch.utils.data import TensorDataset\n"
            "a = TensorDataset(torch.zeros(3, 4))\nb = TensorDataset(torch.zeros(3, 4))",
            "several datasets: a, b",
            "add the line that says which: dataset = a",
        ),
        (
            "boxes = nn.L1Loss()\nclasses = nn.CrossEntropyLoss()",
            "several losses: boxes, classes",
            "add the line that says which: loss = boxes",
        ),
        (
            "a = torch.optim.SGD(model.parameters())\nb = torch.optim.Adam(model.parameters())",
            "several optimizers: a, b",
            "add the line that says which: optimizer = a",
        ),
    ],
)
def test_what_stays_ambiguous_is_refused_with_the_line_that_settles_it(
    code: str, what: str, hint: str, find: Any, error_of: Any
) -> None:
    error = error_of(find, f"model = nn.Linear(4, 3)\n{code}\n")
    assert what in str(error)
    assert error.hint == hint
    role = hint.rpartition(": ")[2]
    find(f"model = nn.Linear(4, 3)\n{code}\n{role}\n")  # it does


def test_one_object_under_two_names_is_one(find: Any) -> None:
    workload, guesses = find(
        LOADERS + "first = nn.Linear(4, 3)\nnet = first\nlast = net\ndl = trainloader\n"
    )
    assert workload.train_loader.batch_size == 16
    assert "net is the model, as the only model in the file" in guesses


def test_parts_of_a_model_are_no_models(find: Any) -> None:
    workload, _ = find(
        """
        encoder, decoder = nn.Linear(4, 3), nn.Linear(3, 4)
        autoencoder = nn.Sequential(encoder, decoder)
        """
    )
    assert isinstance(workload.model, torch.nn.Sequential)


def test_the_compiled_model_is_taken_rather_than_what_is_inside_it(find: Any) -> None:
    workload, _ = find("net = nn.Linear(4, 3)\nfast = torch.compile(net, backend='eager')\n")
    assert hasattr(workload.model, "_orig_mod")


def test_of_two_models_the_one_that_the_optimizer_trains_is_taken(find: Any) -> None:
    workload, guesses = find(
        """
        big, small = nn.Linear(4, 9), nn.Linear(4, 3)
        opt = torch.optim.SGD(small.parameters(), lr=0.1)
        """
    )
    assert workload.model.out_features == 3
    assert guesses[0] == "small is the model, whose parameters the optimizer holds"


def test_a_module_without_parameters_is_no_model_beside_one_that_has_some(find: Any) -> None:
    workload, _ = find("softmax = nn.Softmax(1)\nnet = nn.Linear(4, 3)\n")
    assert isinstance(workload.model, torch.nn.Linear)


CLASS = """
class {name}({base}):
    def __init__(self):
        super().__init__()
        self.inner = {inner}
"""


def test_of_several_classes_the_outermost_is_the_model(find: Any) -> None:
    code = CLASS.format(name="Block", base="nn.Module", inner="nn.Linear(4, 4)")
    code += CLASS.format(
        name="Tower", base="nn.Module", inner="nn.ModuleList(Block() for _ in 'ab')"
    )
    workload, guesses = find(code)
    assert workload.model.__name__ == "Tower"
    assert guesses == ["Tower is the model, as the only model in the file"]


def test_a_loss_class_of_the_users_is_a_loss(find: Any) -> None:
    code = CLASS.format(name="FocalLoss", base="nn.Module", inner="None")
    workload, _ = find(code + "net = nn.Linear(4, 3)\ncrit = FocalLoss()\n")
    assert type(workload.loss).__name__ == "FocalLoss"


@pytest.mark.parametrize(
    "value",
    ["nn.functional.cross_entropy", "__import__('functools').partial(nn.functional.mse_loss)"],
)
def test_what_can_be_called_under_the_name_of_a_loss_is_the_loss(value: str, find: Any) -> None:
    workload, _ = find(f"net = nn.Linear(4, 3)\ncriterion = {value}\n")
    assert callable(workload.loss)


def test_a_function_with_the_name_of_a_loss_is_the_loss(find: Any) -> None:
    workload, guesses = find(
        "net = nn.Linear(4, 3)\ndef loss_function(a, b): return (a - b).sum()\n"
        "def other(a, b): return a\n"
    )
    assert workload.loss.__name__ == "loss_function"
    assert "loss_function is the loss, as the only loss in the file" in guesses


@pytest.mark.parametrize("left", ["torch.zeros(())", "0.5"])
def test_the_loss_that_a_loop_left_behind_is_no_loss(left: str, find: Any) -> None:
    workload, _ = find(f"net = nn.Linear(4, 3)\ncriterion = nn.CrossEntropyLoss()\nloss = {left}\n")
    assert isinstance(workload.loss, torch.nn.CrossEntropyLoss)


def test_a_loader_of_the_dataset_is_taken_for_its_batch_size(find: Any) -> None:
    workload, _ = find(
        DATA + "model = nn.Linear(4, 3)\ndataset = data\ndl = DataLoader(data, 16)\n"
    )
    assert workload.train_loader.batch_size == 16


def test_a_loader_of_other_data_is_not(find: Any) -> None:
    workload, _ = find(
        DATA + "model = nn.Linear(4, 3)\ndataset = [1, 2]\ntest_dl = DataLoader(data, 16)\n"
    )
    assert workload.train_loader is None


def test_a_dataset_and_how_it_is_collated_are_found_by_name(find: Any) -> None:
    workload, guesses = find(
        """
        net = nn.Linear(4, 3)
        train_set = [(torch.zeros(4), 1)] * 8
        test_set = [(torch.zeros(4), 1)] * 8
        def collate(samples): return samples
        """
    )
    assert len(workload.dataset) == 8
    assert workload.collate_fn.__name__ == "collate"
    assert "collate is the collate_fn, by its name" in guesses


def test_the_part_of_a_split_that_trains_is_the_dataset(find: Any) -> None:
    workload, _ = find(
        DATA + "net = nn.Linear(4, 3)\ntrain_ds, val_ds = random_split(data, [60, 4])\n"
    )
    assert len(workload.dataset) == 60


def test_numbers_under_other_names_are_what_is_trained_with_now(find: Any) -> None:
    workload, guesses = find(
        "net = nn.Linear(4, 3)\nBATCH_SIZE = 128\nlearning_rate = 3e-4\n"
        "optimizer = torch.optim.Adam\ntrain_set = [1]\n"
    )
    assert (workload.batch_size, workload.lr) == (128, 3e-4)
    assert "BATCH_SIZE = 128 as the batch size trained with now" in guesses
    assert "learning_rate = 0.0003 as the learning rate" in guesses


def test_a_rate_is_not_taken_from_a_name_where_a_function_decides_it(find: Any) -> None:
    workload, _ = find(
        "net = nn.Linear(4, 3)\nLR = 0.1\noptimizer = lambda p: torch.optim.SGD(p, lr=LR * 0.1)\n"
    )
    assert workload.lr is None


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        ("OneCycleLR(opt, max_lr=0.5, total_steps=100)", 0.5),
        ("LinearLR(opt, start_factor=0.1)", 0.2),
        ("StepLR(opt, 1)", None),  # it changes nothing before its first step
    ],
)
def test_a_schedule_says_which_rate_is_meant(schedule: str, rate: float | None, find: Any) -> None:
    workload, guesses = find(
        "net = nn.Linear(4, 3)\nopt = torch.optim.SGD(net.parameters(), lr=0.2)\n"
        f"sched = torch.optim.lr_scheduler.{schedule}\n"
    )
    assert workload.lr == rate
    assert any("the one that sched" in guess for guess in guesses) == (rate is not None)


def test_a_step_with_two_optimizers_of_its_own_is_asked_for_neither(find: Any) -> None:
    workload, _ = find(
        """
        model = nn.Linear(4, 3)
        a = torch.optim.SGD([model.weight], lr=0.1)
        b = torch.optim.SGD(nn.Linear(3, 4).parameters(), lr=0.1)
        def training_step(model, batch): return None
        """
    )
    assert workload.optimizer is None


def test_the_optimizer_that_trains_the_model_is_taken(find: Any) -> None:
    workload, guesses = find(
        """
        model, other = nn.Linear(4, 3), nn.Linear(4, 3)
        a = torch.optim.SGD(model.parameters(), lr=0.1)
        b = torch.optim.Adam(other.parameters(), lr=0.1)
        """
    )
    assert isinstance(workload.optimizer, torch.optim.SGD)
    assert "a is the optimizer, which holds the model's parameters" in guesses


EVALUATES = """
model = nn.Linear(4, 3)
eval_loader = DataLoader(data, 8)

def evaluate(model, loader):
    return [model(batch) for batch, _ in loader]
"""


def test_how_a_file_evaluates_is_known_by_name_and_is_not_what_it_trains_on(find: Any) -> None:
    workload, _ = find(DATA + EVALUATES + "loader = DataLoader(data, 16)\n")
    assert (workload.train_loader.batch_size, workload.eval_loader.batch_size) == (16, 8)
    assert workload.evaluate.__name__ == "evaluate"


def test_leftovers_under_these_names_are_not_taken_for_an_evaluation(find: Any) -> None:
    code = "model = nn.Linear(4, 3)\nevaluate = True\neval_loader = None\n"
    workload, _ = find(DATA + code + "loader = DataLoader(data, 16)\n")
    assert (workload.evaluate, workload.eval_loader) == (None, None)
