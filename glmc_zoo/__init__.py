"""Long-tailed image classification with GLMC for any timm backbone.

Importing the package registers its backbones with timm. Everything heavy is imported on first use, so that the command
line answers at once.
"""

import importlib
from typing import Any

import lazy_loader
import wrapt

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("timm")
def _register_backbones(_timm: Any) -> None:
    # timm takes seconds to import. Registering as soon as it is there, and at once when it is already, keeps both
    # promises: `import glmc_zoo` makes the names known, and `--help` does not wait for it.
    importlib.import_module(f"{__name__}.backbones")
