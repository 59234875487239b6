"""What a sending thread must not import for the first time: a fork in that moment is a deadlock."""

from __future__ import annotations

import subprocess
import sys


def test_the_codec_of_host_names_is_there_before_any_thread() -> None:
    """Importing the HTTP client loads the idna codec, so that no thread does it later."""
    code = "import sys, exporters.http; sys.exit('encodings.idna' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
