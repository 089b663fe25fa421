"""``make bench``: what the product costs in time and memory, each part in one run.

Figures are of this machine and this minute; the ratios are what to compare. ``PART=burst`` runs one
part alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from bench import burst, core, install, overhead, quota

PARTS: Mapping[str, Callable[[], None]] = {
    "core": core.run,
    "install": install.run,
    "overhead": overhead.run,
    "burst": burst.run,
    "quota": quota.run,
}


def main() -> int:
    """Run the parts that were asked for, or all."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="default: all")
    for name in parser.parse_args().part or PARTS:
        sys.stdout.write(f"\n== {name} ==\n")
        sys.stdout.flush()
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
