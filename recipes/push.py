"""Push a model to the Hugging Face Hub: one commit with weights, card, scores and plots; and its demo as a Space.

    python recipes/push.py --model runs/NAME/model --repo ORG/NAME
    python recipes/push.py --model runs/NAME/model --repo ORG/NAME --private --tag v1.0
    python recipes/push.py --model runs/NAME/model --repo ORG/NAME --pull-request
    python recipes/push.py --model runs/NAME/model --repo ORG/NAME --space ORG/DEMO
    python recipes/push.py --model runs/NAME/model --space ORG/DEMO --space-folder demo    # only written

The login is that of `hf auth login` or HF_TOKEN. The folder is not changed. A second push changes nothing on the Hub.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import push_options
from glmc_zoo.options.sections import PUSH


def main() -> None:
    """Parse, check, push, print where the model is."""
    # ---------------------------------------------------------------- options: file, command line
    request = push_options(read_options(PUSH, __doc__))

    # ---------------------------------------------------------------- the Space, if one is requested
    from glmc_zoo.scoring.pushing import PushRun  # imports torch: not needed for --help

    run = PushRun(request)

    # ---------------------------------------------------------------- checks, then one commit each, and where they are
    run.push()


if __name__ == "__main__":
    run_recipe(main)
