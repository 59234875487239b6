"""The second process: started by :mod:`.process`, with a socket as its standard input.

Run as a file and not with ``-m``, which would look for modules in the folder the collector was
started in; it looks where the collector does.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Decode until the socket is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the collector, which ends us
        signal.signal(number, signal.SIG_IGN)
    from lookout_server.decoding.worker import work

    work(0, sys.argv[1])


if __name__ == "__main__":
    main()
