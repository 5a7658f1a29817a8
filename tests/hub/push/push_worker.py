"""A process that pushes when it is told to: one JSON call a line on standard input, one JSON outcome a line back.

The Hub's client reads ``HF_ENDPOINT`` when it is imported, so that it can only be used as it is in a process of its
own; one process for many pushes, since importing takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from glmc_zoo.errors import UserError
from glmc_zoo.hub import PushTarget, push_folder

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else is printed goes to the log
for line in sys.stdin:
    call = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    if call["token"] is not None:
        os.environ["HF_TOKEN"] = call["token"]
    try:
        target = PushTarget(**call["target"])
        outcome = asdict(push_folder(call["folder"], target, attempts=call["attempts"], first_wait=0.01))
    except UserError as error:
        outcome = {"sentence": error.sentence, "message": str(error)}
    print(json.dumps(outcome), file=answers, flush=True)
