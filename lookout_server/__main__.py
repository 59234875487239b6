"""``python -m lookout_server`` and the console command ``lookout``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a bare SDK installation is told what is missing."""
    try:
        from .cli import cli
    except ModuleNotFoundError as missing:
        print(
            f"lookout: {missing.name} is not installed; "
            "the command needs: pip install 'lookout-telemetry[server]'"
            " (from a checkout: pip install '.[server]')",
            file=sys.stderr,
        )
        sys.exit(2)
    cli()


if __name__ == "__main__":
    main()
