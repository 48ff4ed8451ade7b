"""The cache of logins: what it finds, how long, how many, and that it keeps no password."""

from hypothesis import example, given
from hypothesis import strategies as st
from noctule.auth.login_cache import LoginCache


def test_a_login_is_found_until_its_time_is_over() -> None:
    cache = LoginCache(10, 60.0)
    token = cache.token("alice", b"secret", "$6$x")
    assert not cache.has(token, 0.0)
    cache.add(token, 0.0)
    assert cache.has(token, 59.9)
    assert not cache.has(token, 60.0), "asking does not make it live longer"
    assert len(cache) == 0


LOGIN = st.tuples(st.text("ab\0", max_size=3), st.binary(max_size=3), st.text("$ab", max_size=3))


@given(LOGIN, LOGIN)
@example(("ab", b"", "c"), ("a", b"b", "c"))
@example(("a", b"bc", ""), ("a", b"b", "c"))
def test_only_the_same_login_has_the_same_token(one: tuple[str, bytes, str], other: tuple[str, bytes, str]) -> None:
    cache = LoginCache(10, 60.0)
    assert (cache.token(*one) == cache.token(*other)) is (one == other)


def test_tokens_are_of_one_cache_alone() -> None:
    assert LoginCache(1, 1.0).token("a", b"b", "c") != LoginCache(1, 1.0).token("a", b"b", "c")


def test_the_oldest_goes_first() -> None:
    cache = LoginCache(3, 60.0)
    tokens = [cache.token(str(number), b"", "") for number in range(4)]
    for token in (*tokens[:3], tokens[0], tokens[3]):
        cache.add(token, 0.0)
    assert [cache.has(token, 1.0) for token in tokens] == [True, False, True, True]
    cache.resize(1, 60.0)
    assert [cache.has(token, 1.0) for token in tokens] == [False, False, False, True]
    cache.resize(1, 61.0)
    assert len(cache) == 0


def test_none_are_remembered_without_room() -> None:
    cache = LoginCache(0, 60.0)
    token = cache.token("alice", b"secret", "")
    cache.add(token, 0.0)
    assert not cache.has(token, 0.0)
