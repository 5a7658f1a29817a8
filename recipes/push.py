"""Push an exported model to the Hugging Face Hub: one commit with weights, card, scores and plots.

    python recipes/push.py --model runs/NAME/model --repo ORG/NAME
    python recipes/push.py --model runs/NAME/model --repo ORG/NAME --private --tag v1.0
    python recipes/push.py --model runs/NAME/model --repo ORG/NAME --pull-request

The login is that of `hf auth login` or HF_TOKEN. The folder is not changed. A second push changes nothing on the Hub.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import push_options
from glmc_zoo.options.sections import PUSH
from glmc_zoo.text import printable


def main() -> None:
    """Parse, push, print where the model is."""
    # ---------------------------------------------------------------- options: file, command line
    folder, target = push_options(read_options(PUSH, __doc__))

    # ---------------------------------------------------------------- checks, then one commit
    from glmc_zoo.hub import push_model  # imports torch: not needed for --help

    result = push_model(folder, target)

    # ---------------------------------------------------------------- where it is
    print(f"pushed  {printable(result.pull_request_url or result.url)}")
    print(f"commit  {printable(result.commit)}")


if __name__ == "__main__":
    run_recipe(main)
