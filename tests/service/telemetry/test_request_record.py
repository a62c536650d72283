import pytest
from starlette.datastructures import Headers

from service.telemetry.prometheus import Stages
from service.telemetry.request_record import begin_record, current_record, trace_id_of

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


def test_a_record_sums_its_photographs_up_and_stays_small() -> None:
    record = begin_record(Headers())
    assert current_record() is record
    stages = Stages()
    stages.seconds["infer"] = 0.5
    for _ in range(1_000):
        record.saw((30, 40), stages, "a" * 64)
    assert record.stages.seconds["infer"] == 500
    assert record.sizes == [(30, 40)] * 256
