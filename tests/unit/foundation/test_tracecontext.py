"""W3C trace context: what is read, what is passed on, and what begins a new trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.tracecontext import STATE_CHARACTERS_MAX, TraceContext

_PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_valid_context_is_read() -> None:
    trace = TraceContext.parse(_PARENT, "a=1, b=2")
    assert trace == TraceContext(_PARENT, "a=1,b=2")
    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.sampled) == (_PARENT[3:35], _PARENT[36:52], True)


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "trace-1",
        _PARENT.upper(),
        _PARENT + "-more",
        "ff" + _PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        _PARENT + "\n",
    ],
)
def test_what_the_specification_calls_invalid_is_no_context(parent: str | None) -> None:
    assert TraceContext.parse(parent, "a=1") is None


def test_a_later_version_is_passed_on_as_the_one_that_is_known() -> None:
    assert TraceContext.parse("01" + _PARENT[2:] + "-more") == TraceContext(_PARENT)


@given(st.text(max_size=2000) | st.lists(st.from_regex(r"[a-z]{1,20}=[a-z0-9]{1,256}", fullmatch=True)).map(",".join))
def test_a_state_can_always_be_passed_on(state: str) -> None:
    trace = TraceContext.parse(_PARENT, state)
    assert trace is not None
    kept = trace.state or ""
    assert len(kept) <= STATE_CHARACTERS_MAX
    assert kept.isascii()
    assert kept == (TraceContext.parse(_PARENT, kept) or trace).state or not kept


def test_long_members_of_a_state_go_first_and_then_the_oldest() -> None:
    short = [f"k{number}={'v' * 60}" for number in range(12)]
    long = f"long={'v' * 200}"
    trace = TraceContext.parse(_PARENT, ",".join([long, *short]))
    assert trace is not None
    assert trace.state == ",".join(short[:8])


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
def test_a_restarted_trace_has_a_random_id_and_the_same_decision_on_sampling(flags: str) -> None:
    trace = TraceContext.parse(_PARENT[:-2] + flags, "a=1")
    assert trace is not None
    made = [trace.restarted() for _ in range(400)]
    assert len({each.trace_id for each in made} | {trace.trace_id}) == 401
    assert {each.sampled for each in made} == {trace.sampled}
    assert all(TraceContext.parse(each.parent) == each for each in made)
    # Samplers compare the low 64 bits with a limit: ids whose highest bits are fixed would be all kept, or all dropped.
    assert {each.trace_id[16] for each in made} == set("0123456789abcdef")
