"""Tokens: the laws of merging, the text form, and signatures that cannot be made up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.consistency import EMPTY_TOKEN, ConsistencyToken, InvalidToken, TokenSigner, merge_headers
from freehold.consistency.signer import TOKENS_MAX
from freehold.consistency.token import LANES_MAX
from freehold.errors import CodecError, ConfigurationError

SECRET, OTHER, OLD = "a secret of ours", "a secret of theirs", "an older secret"
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
lanes = st.from_regex(r"[a-z][a-z0-9-]{0,6}(/[0-9]{1,2})?", fullmatch=True)
tokens = st.dictionaries(lanes, st.integers(0, 10**18 - 1), max_size=6).map(ConsistencyToken)


@unhurried
@given(tokens, tokens, tokens)
def test_merging_is_commutative_associative_and_idempotent(
    a: ConsistencyToken, b: ConsistencyToken, c: ConsistencyToken
) -> None:
    assert dict(a.merged(b).positions) == dict(b.merged(a).positions)
    assert dict(a.merged(b).merged(c).positions) == dict(a.merged(b.merged(c)).positions)
    assert dict(a.merged(a).positions) == dict(a.positions)
    assert dict(a.merged(EMPTY_TOKEN).positions) == dict(EMPTY_TOKEN.merged(a).positions) == dict(a.positions)


@unhurried
@given(tokens, tokens)
def test_what_is_merged_has_seen_both_and_no_more(a: ConsistencyToken, b: ConsistencyToken) -> None:
    both = a.merged(b).positions
    assert set(both) == {*a.positions, *b.positions}
    assert all(both[lane] == max(a.positions.get(lane, 0), b.positions.get(lane, 0)) for lane in both)


@unhurried
@given(tokens)
def test_the_text_form_is_read_as_it_was_written(token: ConsistencyToken) -> None:
    assert dict(ConsistencyToken.parse(token.text).positions) == dict(token.positions)
    assert bool(token) == bool(token.text)


@pytest.mark.parametrize(
    "text",
    [
        "orders",
        "orders=",
        "=1",
        "orders=1;",
        "Orders=1",
        "orders=-1",
        "orders=\uff11",
        "orders=1;;b=2",
        "a/b=1",
        " a=1",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(CodecError):
        ConsistencyToken.parse(text)


def test_a_text_of_too_many_lanes_is_refused() -> None:
    with pytest.raises(CodecError):
        ConsistencyToken.parse(";".join(f"a/{number}=1" for number in range(LANES_MAX + 1)))


@unhurried
@given(st.integers(1, 400), st.integers(0, 9), st.integers(0, 10**18 - 1))
def test_a_history_of_many_services_is_merged_signed_and_read_without_a_lane_less(
    services: int, partitions: int, position: int
) -> None:
    """A lane that was dropped would be one that nobody waits for."""
    made = [
        ConsistencyToken(
            {f"service-{number}": position, **{f"service-{number}/{each}": position for each in range(partitions)}}
        )
        for number in range(services)
    ]
    whole = EMPTY_TOKEN.merged(*made)
    assert len(whole.positions) == services * (1 + partitions) <= LANES_MAX
    assert dict(ConsistencyToken.parse(whole.text).positions) == dict(whole.positions)
    signer = TokenSigner([SECRET])
    assert dict(signer.verify_all([signer.sign(whole)]).positions) == dict(whole.positions)


@unhurried
@given(tokens)
def test_what_was_signed_is_taken(token: ConsistencyToken) -> None:
    signer = TokenSigner([SECRET])
    text = signer.sign(token)
    assert text.isascii()
    assert not set(text) & set(', ;"')
    assert dict(signer.verify_all([text]).positions) == dict(token.positions)


@unhurried
@given(tokens.filter(bool), st.data())
def test_tampering_is_always_noticed(token: ConsistencyToken, data: st.DataObject) -> None:
    text = TokenSigner([SECRET]).sign(token)
    place = data.draw(st.integers(0, len(text) - 1))
    letters = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=[text[place], ","])
    other = data.draw(letters)
    changed = data.draw(
        st.sampled_from([text[:place] + other + text[place + 1 :], text[:place] + text[place + 1 :], text + other])
    )
    with pytest.raises(InvalidToken):
        TokenSigner([SECRET]).verify(changed)


@unhurried
@given(st.text(max_size=60))
def test_garbage_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(InvalidToken):
        TokenSigner([SECRET]).verify(text)


def test_a_token_of_another_secret_is_refused() -> None:
    text = TokenSigner([OTHER]).sign(ConsistencyToken({"orders": 1}))
    with pytest.raises(InvalidToken):
        TokenSigner([SECRET]).verify(text)


def test_secrets_are_replaced_one_after_the_other() -> None:
    token = ConsistencyToken({"orders/3": 17})
    before, meanwhile, after = (TokenSigner.of(each) for each in (OLD, f"{SECRET}, {OLD}", SECRET))
    assert before is not None
    assert meanwhile is not None
    assert after is not None
    assert meanwhile.verify(before.sign(token)) == token
    assert after.verify(meanwhile.sign(token)) == token
    with pytest.raises(InvalidToken):
        after.verify(before.sign(token))


def test_no_secret_means_no_signer_and_a_short_one_is_refused() -> None:
    assert TokenSigner.of("") is None
    assert TokenSigner.of(" , ") is None
    with pytest.raises(ConfigurationError) as raised:
        TokenSigner.of("short")
    assert "short" not in str(raised.value)


def test_headers_are_joined_without_a_secret_and_read_as_one() -> None:
    signer = TokenSigner([SECRET])
    first, second = (
        signer.sign(ConsistencyToken({"a/1": 5, "b": 2})),
        signer.sign(ConsistencyToken({"a/1": 3, "c/0": 9})),
    )
    joined = merge_headers([first, f"{second}, {first}", ""])
    assert len(joined.split(",")) == 2
    assert dict(signer.verify_all([joined]).positions) == {"a/1": 5, "b": 2, "c/0": 9}


def test_no_token_is_dropped_and_too_many_are_refused() -> None:
    signer = TokenSigner([SECRET])
    many = [signer.sign(ConsistencyToken({"a": number})) for number in range(1, TOKENS_MAX + 2)]
    joined = merge_headers(many[1:])
    assert signer.verify_all([joined]).positions["a"] == TOKENS_MAX + 1
    with pytest.raises(InvalidToken):
        signer.verify_all([merge_headers(many)])
