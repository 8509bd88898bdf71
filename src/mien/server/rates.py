"""How often anybody may ask: buckets of tokens that fill again over time, for no more callers than fit in memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

_MOST = 10_000
"""Callers that are remembered; then whoever was seen least recently is forgotten."""


class Rates:
    """A bucket of tokens for each caller.

    Args:
        per_minute: tokens that come back in a minute; 0: no limit.
        burst: tokens of a full bucket.
        clock: seconds that never go back.
        most: callers that are remembered.
    """

    def __init__(
        self, per_minute: float, burst: float, *, clock: Callable[[], float] = time.monotonic, most: int = _MOST
    ) -> None:
        self._rate, self._burst, self.clock, self._most = per_minute / 60.0, max(1.0, burst), clock, most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller: tokens left, at what time

    def take(self, caller: str) -> float:
        """Take a token.

        Returns:
            0.0: there was one; else the seconds until there is.
        """
        if self._rate <= 0:
            return 0.0
        now = self.clock()
        left, then = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        short = max(0.0, 1.0 - left)
        self._buckets[caller] = (left if short else left - 1.0, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return short / self._rate

    def __len__(self) -> int:
        """Callers that are remembered."""
        return len(self._buckets)


def network_of(address: str) -> str:
    """Whom limits count: an IPv4 address, or the /64 of an IPv6 one, all of which one subscriber has."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))
