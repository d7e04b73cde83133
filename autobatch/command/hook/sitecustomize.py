"""The hook: what every Python process of a measured command loads before its script.

``site`` imports it, since its folder is the first of ``PYTHONPATH``. It says hello to autobatch,
waits for the script to import PyTorch, and has the other files of this folder watch what happens.
It decides nothing, imports nothing but the standard library, and raises nothing into the script.

    script's process                        autobatch
      events, one JSON list a line   ----->   counts steps, reads memory, decides
      orders: hold, go on with 64    <-----
      leash: a second connection that kills this process once autobatch is gone

It runs in the user's environment, with whatever Python that has (3.9 or later), and without
autobatch.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_VARIABLE = "AUTOBATCH_COMMAND"
_F_SETSIG = 10  # fcntl.h of Linux; Python has no name for it
_SEND_INTERVAL_S = 0.02
_MOST_WAITING = 200
_MOST_TEXT = 300


class Line:
    """The connection to autobatch.

    Args:
        config: What autobatch passed in the environment.

    Attributes:
        config: The same.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        from time import monotonic

        self.config = config
        self.now = monotonic
        self._said: list[tuple[Any, ...]] = []
        self._sent_s = 0.0
        self._introduction: list[tuple[Any, ...]] = []
        self._received = b""
        self._connect()
        os.register_at_fork(after_in_child=self._fall_silent)

    def say(self, *event: Any, at_once: bool = False) -> None:
        """Report an event, with the next few unless at once."""
        if self._socket is None:  # kept, should this process turn out to train
            self._said = [*self._said, event][:_MOST_WAITING]
            return
        self._said.append(event)
        now = self.now()
        if at_once or now - self._sent_s > _SEND_INTERVAL_S or len(self._said) > _MOST_WAITING:
            self._sent_s = now
            self.send()

    def introduce(self, *event: Any) -> None:
        """Report what a forked child has to repeat, should it train."""
        self._introduction.append(event)
        self.say(*event, at_once=True)

    def speak_up(self) -> None:
        """Connect a forked child that turns out to train."""
        if self._socket is None:
            said, self._said = self._said, []
            self._connect()
            self._said = [*self._introduction, *said]
            self.send()

    def orders(self) -> list[dict[str, Any]]:
        """What autobatch has asked for since; does not wait."""
        return self._receive(waits=False)

    def wait_for_order(self) -> dict[str, Any]:
        """Wait until autobatch asks for something."""
        while True:
            orders = self._receive(waits=True)
            if orders:
                return orders[-1]

    def hold(self) -> None:
        """Wait to be killed: nothing of the script goes on, and none of its cleanup runs."""
        self.speak_up()
        self.send()
        while True:
            self._receive(waits=True)

    def _connect(self) -> None:
        import socket

        try:
            self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(self.config["socket"])
            self._tie()
        except OSError:
            os._exit(1)  # autobatch is gone, and nobody watches over this process
        self.say(
            "hello",
            os.getpid(),
            os.getppid(),
            list(getattr(sys, "orig_argv", sys.argv))[:8],
            sys.version.split()[0],
            {name: os.environ.get(name, "") for name in ("RANK", "LOCAL_WORLD_SIZE")},
            at_once=True,
        )

    def _tie(self) -> None:
        """Have the kernel kill this process when autobatch ends, however it ends."""
        import fcntl
        import signal
        import socket

        self._leash = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._leash.connect(self.config["socket"])
        self._leash.sendall(b'["leash"]\n')
        if sys.platform == "linux":
            fcntl.fcntl(self._leash, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._leash, _F_SETSIG, signal.SIGKILL)
            flags = fcntl.fcntl(self._leash, fcntl.F_GETFL)
            fcntl.fcntl(self._leash, fcntl.F_SETFL, flags | os.O_ASYNC)
        try:
            self._leash.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            os._exit(1)  # nothing is ever sent: its end came before the signal was asked for
        except BlockingIOError:
            pass

    def _fall_silent(self) -> None:
        """In a forked child: loader workers have nothing to say, and must end all the same."""
        for each in (self._socket, self._leash):
            if each is not None:
                each.close()
        self._socket, self._said, self._received = None, [], b""
        try:
            self._tie()
        except OSError:
            os._exit(1)

    def send(self) -> None:
        """Report what waits."""
        import json

        if self._socket is None:
            return
        text = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in self._said)
        self._said = []
        try:
            self._socket.sendall(text.encode())
        except OSError:
            os._exit(1)

    def _receive(self, waits: bool) -> list[dict[str, Any]]:
        import json
        import socket

        if self._socket is None:
            return []
        try:
            chunk = self._socket.recv(4096, 0 if waits else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            os._exit(1)
        *lines, self._received = (self._received + chunk).split(b"\n")
        return [json.loads(line) for line in lines]


class TorchFinder:
    """Has PyTorch watched from the moment that it is imported.

    It stays until the module has really run: many libraries ask for the spec of PyTorch first, to
    know whether it is installed.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._is_asking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec of PyTorch, whose loader says so first and has it watched afterwards."""
        if name != "torch" or self._is_asking:
            return None
        import importlib.util

        self._is_asking = True
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            self._is_asking = False
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_watch(module: Any) -> None:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                self._line.say("importing", self._line.now(), at_once=True)
                run(module)
                _watch(module, self._line)

            spec.loader.exec_module = run_and_watch  # type: ignore[method-assign]
        return spec


def describe(error: BaseException | None) -> list[list[str]]:
    """An exception and those that led to it: name of the class, and message."""
    found: list[BaseException] = []
    while error is not None and error not in found and len(found) < 10:
        found.append(error)
        error = error.__cause__ or error.__context__
    return [[type(each).__name__, _text(each)] for each in found]


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_MOST_TEXT]
    except Exception:
        return ""


def _watch(torch: Any, line: Line) -> None:
    try:
        errors = _load("errors_seen").OutOfMemory(torch, line, describe)
        _load("limits").install(torch, line)
        _load("files").watch_saving(torch, line)
        resizing = _load("resizing").Resizing(line)
        steps = _load("steps").Steps(torch, line, errors, resizing)
        gpu = _load("gpu").Gpu(torch, line, steps.is_watched)
        gpu.install()
        steps.install(gpu)
        resizing.install(gpu)
    except Exception as error:
        line.say("failed", describe(error), at_once=True)


def _load(name: str) -> Any:
    """Another file of this folder, which is on no search path by then."""
    import importlib.util

    path = os.path.join(_HERE, name + ".py")
    spec = importlib.util.spec_from_file_location("_autobatch_" + name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _start() -> None:
    import atexit
    import json

    line = Line(json.loads(os.environ[_VARIABLE]))
    atexit.register(line.send)  # the last steps of a script that ends soon
    _load("files").install(line)
    sys.meta_path.insert(0, TorchFinder(line))


def _run_the_one_behind() -> None:
    """Run the ``sitecustomize`` that this one hides, if there is one."""
    import importlib.machinery
    import importlib.util

    sys.path[:] = [each for each in sys.path if os.path.abspath(each or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get(_VARIABLE):
    try:
        _start()
    except Exception as error:  # the script runs as if this were not here; autobatch will notice
        print("autobatch cannot watch this process:", error, file=sys.stderr)
    _run_the_one_behind()
