"""From names in a module to a workload."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autobatch.records import Settings
from autobatch.workload.contract import CONTRACT_NAMES, Workload
from autobatch.workload.names import build_model
from autobatch.workload.task import load_task

DATA = "dataset = [(torch.randn(4), torch.randn(3))] * 8\n"


def test_every_name_of_the_contract_is_taken(find: Any) -> None:
    workload, guesses = find(
        """
        model = nn.Linear(4, 3)
        train_loader = object()
        dataset = [1]
        collate_fn = list
        def batch(batch_size): return batch_size
        sample = 2
        loss = nn.MSELoss()
        optimizer = torch.optim.SGD
        def training_step(model, batch): return model
        def optimizer_step(model, optimizer): optimizer.step()
        length = len
        def evaluate(model, loader): return model
        def parallelize(model): return model
        eval_loader = torch.utils.data.DataLoader([1])
        batch_size = 64
        lr = 1
        dataset_size = 1000
        """
    )
    assert all(getattr(workload, name) is not None for name in CONTRACT_NAMES)
    assert (workload.batch_size, workload.lr, workload.dataset_size) == (64, 1, 1000)
    assert guesses == []


def test_the_only_model_of_a_file_is_the_model_whatever_its_name(find: Any) -> None:
    workload, guesses = find("net = nn.Linear(4, 3)\n" + DATA)
    assert isinstance(workload.model, torch.nn.Linear)
    assert guesses == ["net is the model, as the only model in the file"]


def test_a_loss_beside_the_only_model_is_not_taken_for_a_second(find: Any) -> None:
    workload, _ = find(
        "net = nn.Linear(4, 3)\ncriterion = nn.CrossEntropyLoss()\nloss = nn.MSELoss()\n"
    )
    assert isinstance(workload.model, torch.nn.Linear)


def test_the_only_model_class_of_a_file_is_the_model(find: Any) -> None:
    workload, guesses = find(
        """
        from torch.nn import Linear  # imported, not this file's own
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(4, 3)
        """
    )
    model = build_model(workload, "model.py")
    assert type(model).__name__ == "Net"
    assert "Net is the model" in guesses[0]


def test_several_models_are_named_in_the_error(find: Any, error_of: Any) -> None:
    error = error_of(find, "encoder = nn.Linear(4, 3)\ndecoder = nn.Linear(3, 4)\n")
    assert "several models: encoder, decoder" in str(error)
    assert error.hint.endswith(":decoder")


def test_one_of_several_models_can_be_named(find: Any) -> None:
    workload, _ = find("encoder = nn.Linear(4, 3)\ndecoder = nn.Linear(3, 4)\n", "decoder")
    assert workload.model.in_features == 3


def test_no_model_lists_what_was_found_and_gives_an_example(find: Any, error_of: Any) -> None:
    error = error_of(find, "size = 3\n_hidden = 1\n" + DATA)
    assert "found torch, nn, size, dataset; missing: a model" in str(error)
    assert "model = torch.nn.Linear(10, 1)" in str(error)
    assert "_hidden" not in str(error)


def test_a_long_list_of_names_is_cut(find: Any, error_of: Any) -> None:
    error = error_of(find, "".join(f"name_{number} = 1\n" for number in range(30)))
    assert "name_9 and 20 more" in str(error)


def test_a_file_without_names_says_so(write: Any, error_of: Any) -> None:
    error = error_of(load_task, write(""), Settings())
    assert "found no names; missing: a model" in str(error)


def test_a_name_that_is_not_there_is_an_error(find: Any, error_of: Any) -> None:
    error = error_of(find, "net = nn.Linear(4, 3)\n", "nett")
    assert "there is no 'nett'; found: torch, nn, net" in str(error)


@pytest.mark.parametrize("name", ["", "make", "exp.small"[:3]])
def test_a_workload_may_be_an_object_or_a_function(name: str, find: Any) -> None:
    workload, guesses = find(
        """
        from autobatch import Workload
        exp = workload = Workload(model=nn.Linear(4, 3), batch_size=7)
        def make(): return workload
        """,
        name,
    )
    assert workload.batch_size == 7
    assert guesses == []


def test_workload_may_be_a_function(find: Any) -> None:
    workload, _ = find(
        """
        from autobatch import Workload
        def workload(): return Workload(model=nn.Linear(4, 3), batch_size=7)
        """
    )
    assert workload.batch_size == 7


def test_a_function_by_name_may_return_a_model(find: Any) -> None:
    workload, _ = find("def make(): return nn.Linear(4, 3)\n" + DATA, "make")
    assert isinstance(workload.model, torch.nn.Linear)
    assert len(workload.dataset) == 8


def test_a_workload_of_another_type_is_an_error(find: Any, error_of: Any) -> None:
    assert "'workload' is a int" in str(error_of(find, "workload = 3"))


def test_a_function_that_fails_shows_where(find: Any, error_of: Any) -> None:
    error = error_of(find, "def workload():\n    raise KeyError('depth')\n")
    assert "workload() failed: KeyError: 'depth'" in str(error)
    assert "in workload" in error.user_traceback
    assert "autobatch/workload" not in error.user_traceback


def test_a_function_that_needs_arguments_is_an_error(find: Any, error_of: Any) -> None:
    error = error_of(find, "def make(depth): return nn.Linear(depth, 1)\n", "make")
    assert "missing 1 required positional argument: 'depth'" in str(error)
    assert "without arguments" in error.hint


def test_a_model_class_that_needs_arguments_is_an_error(find: Any, error_of: Any) -> None:
    workload, _ = find(
        "class Net(nn.Module):\n    def __init__(self, depth):\n        super().__init__()\n"
    )
    error = error_of(build_model, workload, "model.py")
    assert "missing 1 required positional argument: 'depth'" in str(error)
    assert "default" in error.hint


def test_a_model_that_is_no_module_is_an_error(error_of: Any) -> None:
    error = error_of(build_model, Workload(model=lambda: 3), "model.py")  # type: ignore[arg-type,return-value]
    assert "'model' is a int, not a torch.nn.Module" in str(error)


def test_the_last_batch_of_a_loop_is_no_function_and_is_left_out(find: Any) -> None:
    workload, _ = find("model = nn.Linear(4, 3)\nfor batch in [torch.zeros(2, 4)]: pass\n" + DATA)
    assert workload.batch is None


@pytest.mark.parametrize("name", ["loss", "training_step", "collate_fn"])
def test_what_must_be_a_function_and_is_none_is_an_error(
    name: str, find: Any, error_of: Any
) -> None:
    error = error_of(find, f"model = nn.Linear(4, 3)\n{name} = 'a name'\n")
    assert f"'{name}' is a str" in str(error)


def test_a_loss_that_was_not_made_yet_is_an_error(find: Any, error_of: Any) -> None:
    error = error_of(find, "model = nn.Linear(4, 3)\nloss = nn.MSELoss\n")
    assert "'loss' is the class MSELoss" in str(error)
    assert error.hint == "make one of it: loss = MSELoss()"


@pytest.mark.parametrize(
    "line",
    ["batch_size = 0", "batch_size = 2.5", "batch_size = True", "lr = -1", "lr = 'x'"],
)
def test_a_number_that_cannot_be_used_is_repeated(line: str, find: Any, error_of: Any) -> None:
    assert line in str(error_of(find, f"model = nn.Linear(4, 3)\n{line}\n"))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [("batch_size=0", "batch_size"), ("batch=torch.zeros(3)", "batch"), ("loss=3", "loss")],
)
def test_a_workload_object_is_held_to_the_same_rules_as_a_file(
    arguments: str, name: str, find: Any, error_of: Any
) -> None:
    error = error_of(
        find,
        f"from autobatch import Workload\nworkload = Workload(model=nn.Linear(4, 3), {arguments})",
    )
    assert name in str(error)


def test_missing_data_says_what_was_found_and_what_could_be_added(
    write: Any, error_of: Any
) -> None:
    path = write("import torch\nmodel = torch.nn.Linear(4, 3)\nlr = 0.1\n")
    error = error_of(load_task, path, Settings())
    assert "found model, lr; missing: data" in str(error)
    for name in ("train_loader", "dataset", "batch(batch_size)", "sample"):
        assert name in str(error)
    assert "dataset = [" in str(error)
    assert "target_file.py,input=3x224x224,classes=1000" in error.hint


def test_the_example_of_the_error_can_be_trained(load: Any) -> None:
    from autobatch.workload.names import _EXAMPLE

    task = load(_EXAMPLE)
    batch = next(task.source.batches(4))
    assert task.loss(task.model, batch).requires_grad


def test_a_model_is_trained_even_if_it_was_left_in_evaluation(load: Any) -> None:
    assert load(
        "model = nn.Dropout(0.5).eval()\nmodel.w = nn.Parameter(torch.ones(1))\n" + DATA
    ).model.training


def test_a_seed_makes_the_weights_the_same_each_time(load: Any) -> None:
    code = "model = nn.Linear(4, 3)\n" + DATA
    first, again = (load(code, seed=3).model.weight for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, load(code, seed=4).model.weight)
