"""The Hugging Face Hub: exported folders with model cards, pushing them, and loading trained models.

The three jobs are `export`, `push` and `load`; what two of them share is in `folder`, `config`, `plain_files` and
`retry`. Nothing heavy is imported until a name is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
