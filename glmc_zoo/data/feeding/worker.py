"""What a process that loads images does about signals."""

import os
import signal
import threading


def leave_stops_to_parent(worker: int) -> None:
    """Let a process that loads images go on when a signal asks the whole run to stop; a loader's ``worker_init_fn``.

    A terminal, Slurm and systemd signal every process of a run. The parent still needs batches for the step that it
    ends, so SIGTERM from the parent alone ends the process that calls this. It also ends when its parent is gone.

    Args:
        worker: Number of the process; not used.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS and Windows
        return
    parent, numbers = os.getppid(), {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}

    def wait() -> None:
        while True:
            received = signal.sigwaitinfo(numbers)
            if received.si_signo == signal.SIGTERM and received.si_pid == parent:
                os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    threading.Thread(target=wait, daemon=True).start()
