"""For training loops of PyTorch: tensors, copies to the device ahead of the loop, and loaders for trainers.

Torch is imported when one of these is used, not before.
"""

from itpipe._core.public import publish as _publish

from ._device import to_device
from ._loader import Loader, loader
from ._tensors import to_torch

__all__ = ['Loader', 'loader', 'to_device', 'to_torch']

_publish(globals())
