"""Randomness by counter: the same (seed, stream, counter) always gives the same number, in any order.

A generator with state would make a value depend on what was asked before it. Here each value is a hash of its
own coordinates, so one interval can be computed without its neighbours and still join them smoothly.
"""

import zlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniform(seed: int, stream: str, counters: Ints | int) -> Floats:
    """Numbers in [0, 1), one per counter; SplitMix64 over seed, stream name and counter."""
    key = np.uint64((seed * 0x1_0000_0001 + zlib.crc32(stream.encode())) % 2**64)
    with np.errstate(over="ignore"):
        state = np.atleast_1d(np.asarray(counters, dtype=np.int64)).astype(np.uint64) * _GOLDEN + _mix(key)
        return (_mix(state) >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mix(state: np.uint64 | npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser."""
    mixed = np.atleast_1d(np.asarray(state, dtype=np.uint64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))


def one(seed: int, stream: str, counter: int) -> float:
    """A single number in [0, 1)."""
    return float(uniform(seed, stream, counter)[0])


def smooth(seed: int, stream: str, counters: Ints, period: int) -> Floats:
    """A curve in [-1, 1] that takes ``period`` counters from one random knot to the next."""
    knot, rest = np.divmod(counters, period)
    weight = (1 - np.cos(np.pi * rest / period)) / 2
    left = uniform(seed, stream, knot)
    right = uniform(seed, stream, knot + 1)
    return 2 * (left + (right - left) * weight) - 1
