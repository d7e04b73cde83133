"""What a target must be before a catalogue is asked. No PyTorch here."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version

from autobatch.errors import SettingsError, WorkloadError
from autobatch.workload.files import Target

# The module that each catalogue's models come from, which is also the name of its extra.
LIBRARIES = {"hf": "transformers", "timm": "timm", "torchvision": "torchvision"}


def require_usable(target: Target) -> None:
    """Refuse what a target has no use for, and a catalogue whose library is missing.

    Raises:
        SettingsError: For a value that follows the target; repeats it.
        WorkloadError: For a library; names the extra to install.
    """
    if not target.catalogue:
        return
    library = LIBRARIES[target.catalogue]
    if importlib.util.find_spec(library) is None:
        raise WorkloadError(
            f"target {target.text!r} needs {library}, which is not installed",
            hint=_install_command(library),
        )
    shape = target.shape
    if target.catalogue == "hf":
        if shape.input is not None:
            raise SettingsError(
                f"target {target.text!r}: the model knows the shape of its input",
                hint="use sequence_length= for tokens, or image_size= for images",
            )
        return
    of_tokens = shape.sequence_length is not None or shape.vocabulary is not None
    if of_tokens or (shape.input is not None and len(shape.input) != 3):
        raise SettingsError(
            f"target {target.text!r}: the model takes images, not tokens",
            hint="give channels, height and width, such as input=3x320x320",
        )


def _install_command(library: str) -> str:
    """The command that installs a library and leaves PyTorch as it is.

    timm and torchvision require one version of PyTorch, and alone would replace the installed
    build by the newest: seen with pip, a build for CPUs by one with 20 packages of CUDA. Pinned
    to the installed build, local version included, they come in the version that goes with it.
    """
    try:
        installed = version("torch")
    except PackageNotFoundError:  # built from source, and unknown to pip
        return f"pip install --no-deps {library}"
    return f"pip install 'torch=={installed}' 'torch-autobatch[{library}]'"
