"""Run the benchmarks, all or those named: ``python -m benchmarks reading tick``."""

import sys

from benchmarks import api, buildings, kpis, publishing, reading, tick

BENCHMARKS = {
    "reading": reading.run,
    "publishing": publishing.run,
    "tick": tick.run,
    "buildings": buildings.run,
    "kpis": kpis.run,
    "api": api.run,
}


def main() -> None:
    """Run each benchmark and print its ratios beside the aims."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    print(f"{'benchmark':<62} {'ratio':>7}  {'aim':>7}  {'seconds':>17}")
    for name in chosen:
        for ratio in BENCHMARKS[name]():
            print(ratio)


if __name__ == "__main__":
    main()
