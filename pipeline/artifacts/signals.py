"""The signals that ask a stage to stop: its main process notes them, its helper processes leave them to it."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def leave_signals_to_parent(worker: int = 0) -> None:
    """Make a helper process (a loader's worker, a converter) ignore the signals that its parent handles.

    A scheduler and Ctrl-C signal the whole group. A worker that died of it would break its parent's step
    before the state is saved. Fits `DataLoader(worker_init_fn=...)`.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
