import pytest

from service.contract.errors import NotAcceptableError
from service.contract.negotiation import negotiate

OFFERS = {"image/png": "png", "application/json": "rle"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param([], "png", id="no header"),
        pytest.param([""], "png", id="empty header"),
        pytest.param(["*/*"], "png", id="anything"),
        pytest.param(["image/*"], "png", id="any image"),
        pytest.param(["application/json"], "rle", id="json"),
        pytest.param(["Application/JSON"], "rle", id="case does not matter"),
        pytest.param(["application/*"], "rle", id="any application type"),
        pytest.param(["application/json, text/plain, */*"], "rle", id="named beats wildcard"),
        pytest.param(["application/json;q=0.5, image/png"], "png", id="higher q"),
        pytest.param(["application/json;q=0.5, image/png;q=0.4"], "rle", id="higher q of two"),
        pytest.param(["*/*;q=0.9, image/png;q=0.1"], "rle", id="most exact range gives the q"),
        pytest.param(["image/png;q=0, */*"], "rle", id="q of 0 excludes"),
        pytest.param(["application/json, image/png"], "png", id="a tie is the default"),
        pytest.param(["text/html", "application/json"], "rle", id="two headers"),
        pytest.param(["application/json ; Q=1.0 ; x=y"], "rle", id="spaces and parameters"),
    ],
)
def test_the_best_offer_is_chosen(accept: list[str], expected: str) -> None:
    assert negotiate(accept, OFFERS) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/jpeg",
        "image/png;q=0",
        "application/json;q=high",
        "image/png;q=0_9",
        "image/png;q=nan",
        ";;,",
        "png",
    ],
)
def test_nothing_suitable_is_refused_with_the_offers(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="image/png, application/json"):
        negotiate([accept], OFFERS)
