"""The chosen settings as text to paste: what to change, by framework."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from autobatch.tuning.asked import PLACEHOLDER
from autobatch.tuning.levers import EVERY_BLOCK, LEVERS, SWITCHES, loader_options
from autobatch.tuning.records import Tuning

_WRAPPER = "torch.distributed.algorithms._checkpoint.checkpoint_wrapper"
_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


def write_recipes(tuning: Tuning) -> dict[str, tuple[str, ...]]:
    """Lines to paste, by framework; of a command, what to run."""
    if tuning.start.facts is None:
        return {"Shell": (*_exports(tuning), *_command(tuning))}
    recipes = {
        "Shell": tuple(_exports(tuning)),
        "PyTorch": (*code_lines(tuning), *_beside(tuning, has_optimizer=False)),
        "Transformers": _transformers(tuning),
        "Lightning": _lightning(tuning),
        "Accelerate": _accelerate(tuning),
    }
    return {name: lines for name, lines in recipes.items() if lines}


def variables_of(tuning: Tuning) -> Mapping[str, str]:
    """Environment variables of the training that levers need."""
    is_command = tuning.start.facts is None
    found: dict[str, str] = {}
    for name, value in tuning.changes.items():
        is_placeholder = name in tuning.asked.placeholders
        if not is_placeholder and (is_command or not LEVERS[name].in_code):
            found.update(LEVERS[name].variables(value))
    return found


def code_lines(tuning: Tuning) -> Iterator[str]:
    """What is done to a model in code, before the optimizer is made."""
    changes = tuning.changes
    if "threads" in changes:
        yield f"torch.set_num_threads({changes['threads']})"
    if "channels_last" in changes:
        yield "model.to(memory_format=torch.channels_last)"
    if "checkpointing" in changes:
        yield from _checkpointing(tuning)
    if "compile" in changes:
        yield "model.compile()"


def _checkpointing(tuning: Tuning) -> Iterator[str]:
    facts, value = tuning.start.facts, tuning.changes["checkpointing"]
    assert facts is not None
    if value == EVERY_BLOCK and facts.checkpoint_switch:
        name, arguments = SWITCHES[facts.checkpoint_switch]
        yield f"model.{name}({', '.join(map(str, arguments))})"
        return
    names = facts.blocks if value == EVERY_BLOCK else facts.blocks[::2]
    yield f"from {_WRAPPER} import apply_activation_checkpointing"
    yield f"blocks = [model.get_submodule(name) for name in {names!r}]"
    yield "apply_activation_checkpointing(model, check_fn=lambda module: module in blocks)"


def _exports(tuning: Tuning) -> Iterator[str]:
    for name, value in variables_of(tuning).items():
        yield f"export {name}={value}"


def _command(tuning: Tuning) -> Iterator[str]:
    """The command to run, with the chosen values where they go."""
    own = tuning.start.placeholders
    values = {name: tuning.changes.get(name, value) for name, value in own.items()}
    values["batch_size"] = str(tuning.batch_size)
    values["accumulation"] = str(tuning.gradient_accumulation_steps)
    yield re.sub(" +", " ", PLACEHOLDER.sub(lambda at: values.get(at[1], at[0]), tuning.target))
    if "{batch_size" not in tuning.target:
        yield f"# at batch size {tuning.batch_size}"


def lines_beside(tuning: Tuning, *, has_optimizer: bool = False) -> tuple[str, ...]:
    """What is done beside the model: variables, optimizer, loader, arithmetic.

    Args:
        tuning: Has the chosen settings.
        has_optimizer: Whether the optimizer has its form already.
    """
    return (*_exports(tuning), *_beside(tuning, has_optimizer=has_optimizer))


def _beside(tuning: Tuning, *, has_optimizer: bool) -> Iterator[str]:
    changes, facts = tuning.changes, tuning.start.facts
    assert facts is not None
    if "optimizer_state" in changes:
        yield f"optimizer = bitsandbytes.optim.{facts.optimizer}8bit(model.parameters(), ...)"
    elif "optimizer" in changes and not has_optimizer:
        keyword = f"{changes['optimizer']}=True"
        yield f"optimizer = torch.optim.{facts.optimizer}(model.parameters(), ..., {keyword})"
    yield f"loader = {_data_loader(tuning)}"
    precision = changes.get("precision", "")
    if precision == "tf32":
        yield "torch.set_float32_matmul_precision('high')"
    elif precision:
        device = tuning.start.device.partition(":")[0]
        yield f"with torch.autocast('{device}', dtype={_DTYPES[precision]}):  # forward and loss"
    if precision == "fp16":
        yield "scaler = torch.amp.GradScaler()  # around backward and optimizer.step"
    if tuning.gradient_accumulation_steps > 1:
        yield f"gradient_accumulation_steps = {tuning.gradient_accumulation_steps}"


def _transformers(tuning: Tuning) -> tuple[str, ...]:
    changes, facts = tuning.changes, tuning.start.facts
    assert facts is not None
    options: dict[str, object] = {"per_device_train_batch_size": tuning.batch_size}
    options |= _accumulation(tuning, "gradient_accumulation_steps")
    if changes.get("checkpointing") == EVERY_BLOCK:
        options["gradient_checkpointing"] = True
    if "compile" in changes:
        options["torch_compile"] = True
    if "AdamW" in facts.optimizer and changes.get("optimizer") == "fused":
        options["optim"] = "adamw_torch_fused"
    if "AdamW" in facts.optimizer and "optimizer_state" in changes:
        options["optim"] = "adamw_bnb_8bit"
    options |= {
        f"dataloader_{name}": value
        for name, value in _loader(tuning).items()
    }  # fmt: skip
    if "precision" in changes:
        options[changes["precision"]] = True
    return (f"TrainingArguments(..., {_keywords(options)})",)


def _lightning(tuning: Tuning) -> tuple[str, ...]:
    precision = tuning.changes.get("precision")
    options: dict[str, object] = {}
    if precision in _DTYPES:
        options["precision"] = "bf16-mixed" if precision == "bf16" else "16-mixed"
    options |= _accumulation(tuning, "accumulate_grad_batches")
    lines = (_data_loader(tuning), *code_lines(tuning))
    return (*lines, f"Trainer(..., {_keywords(options)})") if options else lines


def _accelerate(tuning: Tuning) -> tuple[str, ...]:
    changes = tuning.changes
    options: dict[str, object] = {}
    if changes.get("precision") in _DTYPES:
        options["mixed_precision"] = changes["precision"]
    options |= _accumulation(tuning, "gradient_accumulation_steps")
    lines = (_data_loader(tuning), *code_lines(tuning))
    return (*lines, f"Accelerator({_keywords(options)})") if options else lines


def _loader(tuning: Tuning) -> dict[str, object]:
    return loader_options(tuning.changes["loader"]) if "loader" in tuning.changes else {}


def _data_loader(tuning: Tuning) -> str:
    options = {"batch_size": tuning.batch_size, **_loader(tuning)}
    return f"DataLoader(dataset, {_keywords(options)}, ...)"


def _accumulation(tuning: Tuning, name: str) -> dict[str, object]:
    num_passes = tuning.gradient_accumulation_steps
    return {name: num_passes} if num_passes > 1 else {}


def _keywords(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
