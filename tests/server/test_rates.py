"""Buckets of tokens, by a clock of the test's own."""

from mien.server.rates import Rates, network_of


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_burst_and_then_as_many_as_come_back():
    clock = Clock()
    rates = Rates(60, 5, clock=clock)
    assert [rates.take("a") for _ in range(5)] == [0.0] * 5
    assert rates.take("a") == 1.0
    clock.now += 0.5
    assert rates.take("a") == 0.5
    clock.now += 0.5
    assert rates.take("a") == 0.0
    assert rates.take("b") == 0.0


def test_a_full_bucket_stays_full_and_time_that_stands_still_gives_nothing():
    clock = Clock()
    rates = Rates(60, 2, clock=clock)
    rates.take("a")
    clock.now += 1e6
    assert [rates.take("a") > 0 for _ in range(3)] == [False, False, True]


def test_nought_is_no_limit():
    rates = Rates(0, 10)
    assert not any(rates.take("a") for _ in range(1000))


def test_no_more_callers_are_remembered_than_fit():
    rates = Rates(60, 1, clock=Clock(), most=100)
    for i in range(1000):
        rates.take(str(i))
    assert len(rates) == 100
    assert rates.take("999") > 0


def test_addresses_of_one_subscriber_are_one():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::"
    assert network_of("unknown") == "unknown"
