"""The Hugging Face Hub: exported folders with model cards, pushing them, and loading trained models.

The packages are `export`, `push` and `load`; their shared modules are `folder`, `config` and `plain_files`. torch and
timm are imported only when a name that needs them is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
