"""The algorithm in plain PyTorch on tensors, without data sets, files or the Hub.

torch and timm are imported when a name that needs them is used; the registry and the switches do not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
