from pathlib import Path

from benchmarks.way import way_of_a_request
from service.settings import Settings
from tests.fixtures.models import tiny_registry


def test_the_way_begins_at_the_connection_and_leads_through_the_route_to_the_mask(
    tmp_path: Path,
) -> None:
    root = tiny_registry(tmp_path).root
    way = way_of_a_request(Settings(model_registry=root, backend="pytorch-fp32"))
    names = [code.co_qualname for code in way]
    passed = ["Connection.data_received", "segment", "Predictor.prepare", "encode_mask"]
    assert [name for name in names if name in passed] == passed
    assert len(set(way)) == len(way)
    assert "Server.on_tick" not in names
