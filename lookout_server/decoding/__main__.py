"""The second process: started by :mod:`.process`, with a socket as its standard input.

Run as a file, so that the folder the collector was started in does not become a place where
modules are looked for.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def main() -> None:
    """Decode until the socket is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the collector, which ends us
        signal.signal(number, signal.SIG_IGN)
    home = str(Path(__file__).resolve().parents[2])
    if home not in sys.path:
        sys.path.append(home)
    from lookout_server.decoding.worker import work

    work(0, sys.argv[1])


if __name__ == "__main__":
    main()
