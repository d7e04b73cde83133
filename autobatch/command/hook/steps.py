"""What a training loop does, as events: batches, passes, optimizer steps, evaluation.

    D  a batch was fetched        begin, end, loader, shapes
    B  a backward pass ended      begin, end
    O  an optimizer step ended    end, number of the optimizer, its learning rate
    S  a GradScaler skipped one   end
                                  and on a GPU, where steps end with B, O or S: the mark's number
    E  evaluation: the outermost module was called without gradients      at most once between steps

autobatch makes steps of them. The loop may have any form: nothing of it is called, only watched.
"""

from __future__ import annotations

import functools
from typing import Any

_MOST_ROOTS = 60
_MOST_SHAPES = 4


class Steps:
    """Wraps the few functions of PyTorch that every training loop calls.

    Args:
        torch: The module.
        line: To autobatch.
        errors: Looks at what they raise.
        resizing: Is told where a step may end.
    """

    def __init__(self, torch: Any, line: Any, errors: Any, resizing: Any) -> None:
        self._torch, self._line, self._errors, self._resizing = torch, line, errors, resizing
        self._optimizers: dict[int, tuple[int, Any]] = {}
        self._samplers: dict[int, tuple[int, Any]] = {}
        self._depth_of_steps = 0
        self._num_steps = 0
        self._num_roots = 0
        self._roots: set[str] = set()
        self._is_inside = self._is_passing_back = False
        self._said_evaluation = False
        self._has_passed = False

    def is_watched(self) -> bool:
        """Whether the script is inside a call that is watched for errors."""
        return self._is_inside or self._is_passing_back or self._depth_of_steps > 0

    def install(self, gpu: Any) -> None:
        """Wrap them.

        Args:
            gpu: Is told of models, and marks the ends of steps.
        """
        self._gpu = gpu
        self._wrap_backward()
        self._wrap_optimizers()
        self._wrap_scaler()
        self._wrap_loaders()
        self._wrap_modules()

    def _wrap_backward(self) -> None:
        autograd, line = self._torch.autograd, self._line
        backward = autograd.backward

        @functools.wraps(backward)
        def watched(*args: Any, **kwargs: Any) -> None:
            begin = line.now()
            self._is_passing_back = True
            try:
                backward(*args, **kwargs)
            except Exception as error:
                self._errors.look_at(error, "the backward pass")
                raise
            finally:
                self._is_passing_back = False
            line.speak_up()
            # Where there is an optimizer, its steps are marked.
            line.say("B", begin, line.now(), *(() if self._num_steps else self._gpu.mark()))
            self._said_evaluation = False
            if not self._has_passed:
                self._has_passed = True
                self._say_rank()
            self._resizing.after_backward(has_optimizer=self._num_steps > 0)

        watched._torchdynamo_disable = True  # type: ignore[attr-defined]
        autograd.backward = watched

    def _say_rank(self) -> None:
        """Which of several processes this is that train together, however they were started."""
        distributed = self._torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            rank, num_ranks = distributed.get_rank(), distributed.get_world_size()
            self._line.say("rank", rank, num_ranks)

    def _wrap_optimizers(self) -> None:
        """Every class of optimizers has its ``step`` wrapped by this function, as it is first made.

        The wrapper has no ``__wrapped__``: dynamo of older versions takes wrappers off by that.
        """
        kind = self._torch.optim.Optimizer
        profile = kind.profile_hook_step

        def wrap(func: Any) -> Any:
            run = profile(func)

            def step(*args: Any, **kwargs: Any) -> Any:
                self._depth_of_steps += 1
                try:
                    result = run(*args, **kwargs)
                except Exception as error:
                    self._errors.look_at(error, "the optimizer's step")
                    raise
                finally:
                    self._depth_of_steps -= 1
                if not self._depth_of_steps:
                    self._after_step(args[0])
                return result

            step.__name__, step.__doc__, step.__module__ = "step", func.__doc__, func.__module__
            step._torchdynamo_disable = True  # type: ignore[attr-defined]
            return step

        kind.profile_hook_step = staticmethod(wrap)

    def _after_step(self, optimizer: Any) -> None:
        end = self._line.now()
        self._num_steps += 1
        known = self._optimizers.get(id(optimizer))
        if known is None:
            known = self._optimizers[id(optimizer)] = (len(self._optimizers), optimizer)
            self._introduce(known[0], optimizer)
        rate = optimizer.param_groups[0].get("lr") if optimizer.param_groups else None
        rate = rate if isinstance(rate, float) else None
        self._line.say("O", end, known[0], rate, *self._gpu.mark())
        self._resizing.after_step()

    def _introduce(self, number: int, optimizer: Any) -> None:
        groups = optimizer.param_groups
        first = groups[0] if groups else {}
        device = next((each.device for each in first.get("params", ())), None)
        if device is not None:
            self._gpu.use(device)
        rates = [first.get(name) for name in ("lr", "initial_lr")]
        self._line.say(
            "optimizer",
            number,
            type(optimizer).__name__,
            sum(each.numel() for group in groups for each in group["params"]),
            *[float(rate) if isinstance(rate, (int, float)) else None for rate in rates],
            "cpu" if device is None else device.type,
        )

    def _wrap_scaler(self) -> None:
        kind, line = self._torch.amp.GradScaler, self._line
        step = kind.step

        @functools.wraps(step)
        def watched(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = self._num_steps
            result = step(scaler, optimizer, *args, **kwargs)
            if self._num_steps == before:
                line.say("S", line.now(), *self._gpu.mark())
                self._resizing.after_step()
            return result

        kind.step = watched

    def _wrap_loaders(self) -> None:
        from torch.utils.data import dataloader

        line = self._line
        kind: Any = dataloader._BaseDataLoaderIter
        fetch = kind.__next__

        def watched(iterator: Any) -> Any:
            begin = line.now()
            try:
                batch = fetch(iterator)
            except Exception as error:
                if not isinstance(error, StopIteration):
                    self._errors.look_at(error, "the data loader")
                raise
            end = line.now()
            shapes = self._shapes_of(batch)
            line.say("D", begin, end, self._number_of(iterator), shapes)
            self._resizing.after_fetch(iterator, shapes)
            return batch

        kind.__next__ = kind.next = watched

    def _number_of(self, iterator: Any) -> int:
        """The number of a loader; a new iterator over it is reported, since an epoch began."""
        sampler = iterator._index_sampler
        number, _ = self._samplers.setdefault(id(sampler), (len(self._samplers), sampler))
        if not hasattr(iterator, "_autobatch_was_seen"):
            iterator._autobatch_was_seen = True
            self._line.say(
                "loader",
                number,
                type(iterator._dataset).__name__,
                _length_of(iterator._dataset),
                getattr(sampler, "batch_size", None),
                _length_of(sampler),
                getattr(iterator, "_num_workers", 0),
                self._resizing.can_resize(sampler),
            )
        return number

    def _wrap_modules(self) -> None:
        """Watch the calls of outermost modules, from outside of anything that is compiled."""
        kind = self._torch.nn.Module
        call, is_compiling = kind.__call__, self._torch.compiler.is_compiling

        def watched(module: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_inside or is_compiling():
                return call(module, *args, **kwargs)
            self._is_inside = True
            try:
                self._look_at_call(module, args, kwargs)
                return call(module, *args, **kwargs)
            except Exception as error:
                self._errors.look_at(error, "the forward pass")
                raise
            finally:
                self._is_inside = False

        kind.__call__ = watched

    def _look_at_call(self, module: Any, args: Any, kwargs: Any) -> None:
        has_gradients = self._torch.is_grad_enabled()
        if not has_gradients and not self._said_evaluation and _has_parameters(module):
            self._said_evaluation = True
            self._line.say("E", self._line.now())
        if self._num_roots >= _MOST_ROOTS or not has_gradients or not module.training:
            return
        first = next(module.parameters(), None)
        if first is not None:
            self._gpu.use(first.device)
            self._num_roots += 1
            shapes = self._shapes_of((args, kwargs))
            key = f"{type(module).__name__} {shapes}"
            if key not in self._roots:
                self._roots.add(key)
                self._line.say("module", *self._describe(module), shapes)

    def _describe(self, module: Any) -> tuple[str, int, bool, str]:
        inner = getattr(module, "module", None)  # of DistributedDataParallel, for one
        inner = getattr(module, "_orig_mod", inner)
        named = inner if isinstance(inner, self._torch.nn.Module) else module
        batch_norm = self._torch.nn.modules.batchnorm._BatchNorm
        count = sum(each.numel() for each in module.parameters() if each.requires_grad)
        has_batch_norm = any(isinstance(each, batch_norm) for each in module.modules())
        device = next(module.parameters()).device.type
        return type(named).__name__, count, has_batch_norm, device

    def _shapes_of(self, batch: Any, depth: int = 0) -> list[list[int]]:
        if isinstance(batch, self._torch.Tensor):
            return [list(batch.shape)]
        if depth > 3:
            return []
        parts: list[Any] = []
        if isinstance(batch, (list, tuple)):
            parts = list(batch[:_MOST_SHAPES])
        elif hasattr(batch, "values") and hasattr(batch, "keys"):
            parts = list(batch.values())[:_MOST_SHAPES]
        found = [shape for part in parts for shape in self._shapes_of(part, depth + 1)]
        return found[:_MOST_SHAPES]


def _has_parameters(module: Any) -> bool:
    return next(module.parameters(), None) is not None


def _length_of(collection: Any) -> int | None:
    try:
        return len(collection)
    except Exception:
        return None
