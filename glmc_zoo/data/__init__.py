"""Data sets: the catalogue, reading, long-tailed splits, and feeding them to a training.

Nothing heavy is imported until a name is used: the catalogue and the class counts need numpy alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
