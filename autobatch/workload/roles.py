"""What the objects of a file are, where their names are not those of the contract.

    by type   the only DataLoader, the only optimizer
    by name   of several: trainloader rather than testloader; net, criterion, opt
    by use    the model whose parameters the optimizer holds

What remains ambiguous is refused, with the line that settles it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from autobatch.errors import WorkloadError
from autobatch.units import format_learning_rate
from autobatch.workload.contract import CONTRACT_NAMES
from autobatch.workload.files import Target

# Without underscores and capitals. Tutorials call them so.
_NAMES = {
    "model": {"model", "net", "network", "student"},
    "train_loader": {"loader", "dataloader", "trainloader", "traindataloader", "traindl"},
    "dataset": {"dataset", "trainset", "traindataset", "trainds", "traindata", "trainingdata"},
    "collate_fn": {"collate", "collatefn", "collator", "collatebatch", "datacollator"},
    "loss": {"criterion", "lossfn", "lossfunc", "lossfunction", "objective"},
    "optimizer": {"optimizer", "optimiser", "opt", "optim"},
    "batch_size": {"batchsize", "bs", "trainbatchsize"},
    "lr": {"lr", "learningrate"},
}
_WHAT = {
    "model": "model",
    "train_loader": "DataLoader",
    "dataset": "dataset",
    "loss": "loss",
    "optimizer": "optimizer",
}
_HELD_OUT = re.compile(r"(?:^|[_\W])(?:test|val(?!ue)|eval|dev(?!ice)|hold_?out)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of a file.

    Attributes:
        label: How the file writes it, such as ``loaders['train']``.
        value: The object.
    """

    label: str
    value: Any


class Roles:
    """Fills in what a file does not say under the names of the contract.

    Attributes:
        found: Objects by the contract's name.
        guesses: A sentence for each that was guessed.

    Args:
        target: What the user named, for messages.
        namespace: The names that its file defines.
    """

    def __init__(self, target: Target, namespace: Mapping[str, Any]) -> None:
        self._target = target
        self._namespace = namespace
        self._objects = list(_walk(namespace))
        self.guesses: list[str] = []
        self.found = {name: namespace[name] for name in CONTRACT_NAMES if name in namespace}
        # A leftover of a loop, the last batch or loss, is no function that makes one.
        for name in ("batch", "length", "evaluate"):
            if not callable(self.found.get(name)):
                self.found.pop(name, None)
        if isinstance(self.found.get("loss"), (torch.Tensor, float)):
            del self.found["loss"]
        if not isinstance(self.found.get("eval_loader"), DataLoader):
            self.found.pop("eval_loader", None)

    def fill(self) -> None:
        """Find all of them; the model last, since the optimizer may say which it is.

        Raises:
            WorkloadError: If several could be the one.
        """
        if "model" not in self.found:
            self._take("model", self._choose_model())
        if not self._has_step:
            self._fill_loss()
        self._fill_optimizer()
        self._fill_data()
        self._fill_numbers()

    @property
    def _has_step(self) -> bool:
        return callable(self.found.get("training_step"))

    def _take(self, role: str, choice: tuple[_Object, str] | None) -> None:
        if choice is not None:
            chosen, reason = choice
            self.found[role] = chosen.value
            self.guesses.append(f"{chosen.label} is the {role}, {reason}")

    def _choose_model(self) -> tuple[_Object, str] | None:
        modules = [each for each in self._objects if isinstance(each.value, nn.Module)]
        modules = [each for each in modules if not _is_loss(each)]
        modules = [each for each in modules if _has_parameters(each.value)] or modules
        parts = {id(part) for each in modules for part in [*each.value.modules()][1:]}
        modules = _unique("model", (each for each in modules if id(each.value) not in parts))
        if len(modules) > 1 and len(trained := self._trained_by_optimizer(modules)) == 1:
            return trained[0], "whose parameters the optimizer holds"
        if modules:
            return self._choose("model", modules, several="models")
        home = self._namespace.get("__name__")
        classes = [
            each
            for each in self._objects
            if isinstance(each.value, type)
            and issubclass(each.value, nn.Module)
            and each.value.__module__ == home
            and not each.label.lower().endswith("loss")
        ]
        inner = {name for each in classes for name in _mentions(each.value)}
        outer = [each for each in classes if each.value.__name__ not in inner] or classes
        return self._choose("model", outer, several="models")

    def _trained_by_optimizer(self, modules: list[_Object]) -> list[_Object]:
        optimizers = [each.value for each in self._objects if _is_optimizer(each.value)]
        return [each for each in modules if any(_trains(opt, each.value) for opt in optimizers)]

    def _fill_loss(self) -> None:
        if "loss" in self.found:
            return
        losses = [each for each in self._objects if _is_loss(each)]
        self._take("loss", self._choose("loss", _unique("loss", losses), several="losses"))

    def _fill_optimizer(self) -> None:
        if "optimizer" in self.found:
            return
        optimizers = _unique(
            "optimizer", (each for each in self._objects if _is_optimizer(each.value))
        )
        if self._has_step and len(optimizers) > 1:
            return  # they are for the step to use
        model = self.found.get("model")
        if isinstance(model, nn.Module):
            own = [each for each in optimizers if _trains(each.value, model)]
            if len(own) == 1 < len(optimizers):
                self._take("optimizer", (own[0], "which holds the model's parameters"))
                return
            optimizers = own
        self._take("optimizer", self._choose("optimizer", optimizers, several="optimizers"))

    def _fill_data(self) -> None:
        if "train_loader" in self.found:
            return
        loaders = _unique(
            "train_loader", (each for each in self._objects if isinstance(each.value, DataLoader))
        )
        given = self.found.get("dataset")
        if given is not None:
            loaders = [each for each in loaders if each.value.dataset is given]
            loaders = loaders if len(loaders) == 1 else []
        if "batch" not in self.found and loaders:
            self._take("train_loader", self._choose("train_loader", loaders, several="loaders"))
        elif not {"dataset", "batch", "sample"} & self.found.keys():
            datasets = _unique("dataset", (each for each in self._objects if _is_dataset(each)))
            self._take("dataset", self._choose("dataset", datasets, several="datasets"))
            if "collate_fn" not in self.found and "dataset" in self.found:
                named = [each for each in self._objects if _is_named(each, "collate_fn")]
                named = [each for each in named if callable(each.value)]
                self._take("collate_fn", (named[0], "by its name") if len(named) == 1 else None)

    def _fill_numbers(self) -> None:
        """The batch size and the learning rate trained with now, where no object tells them."""
        optimizer = self.found.get("optimizer")
        if isinstance(optimizer, torch.optim.Optimizer):
            self._read_schedule(optimizer)
        elif "lr" not in self.found and (optimizer is None or isinstance(optimizer, type)):
            self._take_number("lr", "the learning rate")
        if not {"batch_size", "train_loader"} & self.found.keys():
            self._take_number("batch_size", "the batch size trained with now")

    def _take_number(self, role: str, words: str) -> None:
        kinds = (int, float) if role == "lr" else (int,)
        named = [each for each in self._objects if _is_named(each, role)]
        numbers = [each for each in named if isinstance(each.value, kinds) and each.value > 0]
        if len(numbers) == 1:
            self.found[role] = numbers[0].value
            self.guesses.append(f"{numbers[0].label} = {numbers[0].value!r} as {words}")

    def _read_schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """A schedule changes the rate as soon as it is made; it tells where it begins or peaks."""
        schedules = [each for each in self._objects if isinstance(each.value, LRScheduler)]
        schedules = [each for each in schedules if each.value.optimizer is optimizer]
        groups = optimizer.param_groups
        rates = {float(group.get("max_lr", group.get("initial_lr", 0.0))) for group in groups}
        if len(schedules) != 1 or "lr" in self.found or len(rates) != 1 or not min(rates):
            return
        rate = rates.pop()
        if any(float(group["lr"]) != rate for group in groups):
            self.found["lr"] = rate
            name, now = type(schedules[0].value).__name__, format_learning_rate(groups[0]["lr"])
            self.guesses.append(
                f"{format_learning_rate(rate)} as the learning rate, the one that "
                f"{schedules[0].label} ({name}) is made with; it has set {now}"
            )

    def _choose(
        self, role: str, objects: list[_Object], *, several: str
    ) -> tuple[_Object, str] | None:
        if len(objects) == 1:
            return objects[0], f"as the only {_WHAT[role]} in the file"
        if not objects:
            return None
        kept = [each for each in objects if not _HELD_OUT.search(each.label)] or objects
        named = [each for each in kept if _is_named(each, role) or "train" in each.label.lower()]
        for few in (kept, named):
            if len(few) == 1:
                others = [each.label for each in objects if each is not few[0]]
                return few[0], f"by its name, beside {', '.join(others)}"
        labels = [each.label for each in objects]
        hint = f"add the line that says which: {role} = {labels[0]}"
        if role == "model":
            hint = f"name one, such as {self._target.location}:{labels[-1]}"
        raise WorkloadError(
            f"target {self._target.text!r} has several {several}: {', '.join(labels)}", hint=hint
        )


def _walk(namespace: Mapping[str, Any]) -> Iterator[_Object]:
    for name, value in namespace.items():
        if name.startswith("__"):
            continue
        yield _Object(name, value)
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            # A loader or a dataset for each phase: {"train": ..., "val": ...}
            for key, part in value.items():
                if isinstance(part, (DataLoader, Dataset)):
                    yield _Object(f"{name}[{key!r}]", part)


def _mentions(model_class: type) -> set[str]:
    """Names in the code of a class and of its methods, its bases among them."""
    names = {base.__name__ for base in model_class.__mro__[1:]}
    codes = [each.__code__ for each in vars(model_class).values() if isinstance(each, FunctionType)]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    return names - {model_class.__name__}


def _unique(role: str, objects: Iterable[_Object]) -> list[_Object]:
    """Each object once, under the name that says its role, or the first."""
    seen: dict[int, _Object] = {}
    for each in objects:
        known = seen.setdefault(id(each.value), each)
        if _is_named(each, role) and not _is_named(known, role):
            seen[id(each.value)] = each
    return list(seen.values())


def _is_named(each: _Object, role: str) -> bool:
    return each.label.replace("_", "").lower() in _NAMES[role]


def _is_loss(each: _Object) -> bool:
    value = each.value
    if isinstance(value, nn.Module):
        is_of_torch = isinstance(value, nn.modules.loss._Loss)
        return is_of_torch or type(value).__name__.endswith("Loss") or _is_named(each, "loss")
    return callable(value) and _is_named(each, "loss")


def _is_dataset(each: _Object) -> bool:
    if isinstance(each.value, Dataset):
        return True
    can_index = hasattr(each.value, "__getitem__") and hasattr(each.value, "__len__")
    is_other = isinstance(each.value, (str, bytes, torch.Tensor, Mapping, type))
    return _is_named(each, "dataset") and can_index and not is_other


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, torch.optim.Optimizer)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _trains(optimizer: torch.optim.Optimizer, model: nn.Module) -> bool:
    own = {id(parameter) for parameter in model.parameters()}
    held = (id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    return any(each in own for each in held)
