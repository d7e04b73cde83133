"""NVML, NVIDIA's management library: who uses a GPU, how fast it runs, what it draws.

    session    start it once, ask one function, turn every error into a reason
    handles    from a PyTorch device to the same GPU, or MIG slice, in NVML
    readings   what a GPU says of itself, as records
    processes  who holds its memory

``pynvml`` here is the module of the distribution ``nvidia-ml-py``, and only ``session``
imports it: tests hand in a module of their own.
"""

from autobatch.devices.nvml.handles import find_gpu, list_gpus
from autobatch.devices.nvml.session import Nvml, NvmlGpu, open_nvml, start_nvml

__all__ = ["Nvml", "NvmlGpu", "find_gpu", "list_gpus", "open_nvml", "start_nvml"]
