"""The algorithm as plain PyTorch on tensors; knows nothing of data sets, files or the Hub.

Nothing heavy is imported until a name is used: the registry and the switches need neither torch nor timm.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
