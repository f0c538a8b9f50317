"""Entry point of `reloop-sim` and `python -m firmware_sim`."""

import sys

from firmware_sim.cli import run


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
