"""Failed logins, counted by address and by user."""

import pytest
from noctule.handlers import login_throttle
from noctule.handlers.login_throttle import LoginThrottle

PER_ADDRESS, PER_USER = 3, 5


class Clock:
    """A throttle and the time."""

    def __init__(self) -> None:
        self.throttle = LoginThrottle()
        self.now = 1_000.0

    def fail(self, address: str, user: str | None = "ann", times: int = 1) -> None:
        for _ in range(times):
            self.throttle.failed(address, user, PER_ADDRESS, PER_USER, self.now)

    def refuses(self, address: str, user: str | None = "ann", *, per_address: int = PER_ADDRESS) -> bool:
        return self.throttle.refuses(address, user, per_address, PER_USER, self.now)


def test_an_address_that_fails_too_often_waits_its_part_of_a_minute() -> None:
    clock = Clock()
    clock.fail("10.0.0.1", None, 2)
    assert not clock.refuses("10.0.0.1")
    clock.fail("10.0.0.1", None)
    assert clock.refuses("10.0.0.1")
    assert not clock.refuses("10.0.0.2")
    clock.now += 60 / PER_ADDRESS - 0.1
    assert clock.refuses("10.0.0.1")
    clock.now += 0.2
    assert not clock.refuses("10.0.0.1")


def test_failures_without_end_do_not_add_up_to_an_endless_wait() -> None:
    clock = Clock()
    clock.fail("10.0.0.1", None, 1_000)
    clock.now += 60
    assert not clock.refuses("10.0.0.1")


def test_nought_is_no_limit() -> None:
    clock = Clock()
    for _ in range(100):
        clock.throttle.failed("10.0.0.1", "ann", 0, 0, clock.now)
    assert not clock.throttle.refuses("10.0.0.1", "ann", 0, 0, clock.now)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("2001:db8::2", True),
        ("2001:db8:0:0:ffff::1", True),
        ("2001:db8:0:1::1", False),
        ("fe80::1%eth0", False),
        ("no address", False),
    ],
)
def test_a_network_of_version_6_is_one_address(other: str, is_same: bool) -> None:
    clock = Clock()
    clock.fail("2001:db8::1", None, 3)
    assert clock.refuses(other) == is_same


def test_version_4_in_version_6_is_that_address() -> None:
    clock = Clock()
    clock.fail("::ffff:10.0.0.1", None, 3)
    assert clock.refuses("10.0.0.1")
    assert not clock.refuses("::ffff:10.0.0.2")


def test_a_user_who_is_guessed_at_from_everywhere() -> None:
    """The user may still log in from where it has worked before; a failure there ends that."""
    clock = Clock()
    clock.throttle.succeeded("10.0.0.1", "ann")
    for number in range(PER_USER):
        clock.fail(f"10.1.0.{number}")
    assert clock.refuses("10.2.0.1", "ann")
    assert not clock.refuses("10.2.0.1", "bob")
    assert not clock.refuses("10.2.0.1", None)
    assert not clock.refuses("10.0.0.1", "ann")
    clock.fail("10.0.0.1")
    assert clock.refuses("10.0.0.1", "ann")


def test_without_an_address_the_user_alone_counts() -> None:
    """Clients of a unix socket, say: one of them must not lock the others out."""
    clock = Clock()
    clock.fail("", "ann", PER_USER)
    assert clock.refuses("", "ann")
    assert not clock.refuses("", "bob")
    assert not clock.refuses("", None)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay."""
    monkeypatch.setattr(login_throttle, "_REMEMBERED_MAX", 10)
    monkeypatch.setattr(login_throttle, "_KNOWN_MAX", 10)
    clock = Clock()
    for number in range(50):
        clock.fail(f"10.0.0.{number}", f"user{number}", 3)
        clock.throttle.succeeded(f"10.0.1.{number}", "ann")
    assert clock.refuses("10.0.0.49", None)
    assert not clock.refuses("10.0.0.1", None)
    assert len(clock.throttle._by_address) == len(clock.throttle._by_user) == len(clock.throttle._known) == 10
