"""The generators of random numbers of Java and of Spark, so that the tests have the data of Spark's own suites."""

import math
from collections.abc import Callable

import numpy as np

BITS_48, BITS_64 = (1 << 48) - 1, (1 << 64) - 1


class JavaRandom:
    """`java.util.Random`, which `scala.util.Random` is too: a linear congruential generator modulo 2^48.

    Source: D. Knuth, The Art of Computer Programming, volume 2, section 3.2.1 and (polar method) 3.4.1; the constants
    are those that the documentation of `java.util.Random` fixes.

    >>> JavaRandom(42).double()
    0.7275636800328681
    """

    def __init__(self, seed: int) -> None:
        self.state = (seed ^ 0x5DEECE66D) & BITS_48
        self.spare: float | None = None  # the polar method makes two at once

    def bits(self, count: int) -> int:
        """The next `count` bits, as an unsigned number."""
        self.state = (self.state * 0x5DEECE66D + 0xB) & BITS_48
        return self.state >> (48 - count)

    def double(self) -> float:
        """Uniform in [0, 1)."""
        high = self.bits(26)
        return ((high << 27) + self.bits(27)) * 2.0**-53

    def gaussian(self) -> float:
        """Standard normal."""
        if self.spare is not None:
            found, self.spare = self.spare, None
            return found
        s = 0.0
        while not 0.0 < s < 1.0:
            x, y = 2.0 * self.double() - 1.0, 2.0 * self.double() - 1.0
            s = x * x + y * y
        factor = math.sqrt(-2.0 * math.log(s) / s)
        self.spare = y * factor
        return x * factor


class XorShiftRandom(JavaRandom):
    """Spark's generator, of the column `rand(seed)`: xorshift, from a seed whose bits are spread by MurmurHash3.

    Source: G. Marsaglia, Xorshift RNGs (2003).

    >>> XorShiftRandom(42).double()
    0.619189370225301
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        key = (seed & BITS_64).to_bytes(8, "big")
        low = murmur3(key, 0x3C074A61)
        self.state = murmur3(key, low) << 32 | low

    def bits(self, count: int) -> int:
        x = self.state
        x ^= x << 21 & BITS_64
        x ^= x >> 35
        self.state = (x ^ x << 4) & BITS_64
        return self.state & ((1 << count) - 1)


def murmur3(key: bytes, seed: int) -> int:
    """MurmurHash3 to 32 bits of whole words of four bytes. Source: A. Appleby, MurmurHash3 (2011)."""
    h, bits_32 = seed, (1 << 32) - 1
    for word in np.frombuffer(key, "<u4").tolist():
        k = word * 0xCC9E2D51 & bits_32
        h ^= (k << 15 | k >> 17) * 0x1B873593 & bits_32
        h = ((h << 13 | h >> 19) * 5 + 0xE6546B64) & bits_32
    h ^= len(key)
    h = (h ^ h >> 16) * 0x85EBCA6B & bits_32
    h = (h ^ h >> 13) * 0xC2B2AE35 & bits_32
    return h ^ h >> 16


def draws(draw: Callable[[], float], *shape: int) -> np.ndarray:
    """The next draws as an array, the last axis the fastest."""
    return np.array([draw() for _ in range(math.prod(shape))]).reshape(shape)
