from typing import Any

import pytest

from service.telemetry.ticket import ticket_of, trace_id_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(f"00-{TRACE}-{PARENT}-01", TRACE, id="sampled"),
        pytest.param(f"00-{TRACE}-{PARENT}-00", TRACE, id="not sampled"),
        pytest.param(f"cc-{TRACE}-{PARENT}-01-what-comes", TRACE, id="a later version"),
        pytest.param(f"00-{TRACE}-{PARENT}-01-more", None, id="this version with more"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", None, id="forbidden version"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", None, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no parent"),
        pytest.param(f"00-{TRACE.upper()}-{PARENT}-01", None, id="upper case"),
        pytest.param(f"00-{TRACE[1:]}-{PARENT}-01", None, id="too short"),
        pytest.param(f"00-{TRACE}-{PARENT}", None, id="no flags"),
        pytest.param("Jane-Doe", None, id="a name"),
        pytest.param("", None, id="empty"),
    ],
)
def test_a_trace_is_taken_over_where_the_header_is_valid(value: str, expected: str | None) -> None:
    assert trace_id_of([value]) == expected


def test_two_traces_are_none() -> None:
    assert trace_id_of([]) is None
    assert trace_id_of([f"00-{TRACE}-{PARENT}-01"] * 2) is None


def test_a_ticket_sums_its_images_up_and_stays_small() -> None:
    scope: dict[str, Any] = {"type": "http", "headers": []}
    ticket = ticket_of(scope)
    assert ticket_of(scope) is ticket
    for _ in range(1_000):
        ticket.add_image((30, 40), {"infer": 0.5}, "a" * 64)
    assert ticket.seconds["infer"] == 500
    assert ticket.sizes == [(30, 40)] * 256
