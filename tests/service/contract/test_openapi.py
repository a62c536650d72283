import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from service.contract.errors import (
    HeadTooLargeError,
    HeadTooSlowError,
    LabelStudioError,
    MalformedRequestError,
    MethodNotAllowedError,
    NoSuchRouteError,
)
from service.contract.problems import BY_SLUG, PROBLEMS
from service.contract.quoting import FIELDS
from tests.fixtures.pictures import encode, lesion

Json = dict[str, Any]
PNG = encode(lesion(48, 64))


@pytest.fixture(scope="module")
def document(client: TestClient) -> Json:
    document: Json = client.get("/openapi.json").json()
    return document


def check(document: Json, schema: Json, value: object) -> None:
    """`value` obeys a schema of the document."""
    whole = {"components": document["components"], **schema}
    Draft202012Validator(whole, format_checker=None).validate(value)


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def responses(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, operation in operations(document):
        for status, response in operation["responses"].items():
            yield path, status, response


def test_the_document_is_valid_openapi(document: Json) -> None:
    validate(document)


def test_it_says_that_this_is_no_medical_device(document: Json) -> None:
    assert "Not a medical device" in document["info"]["description"]


def test_every_public_route_is_in_it(document: Json) -> None:
    assert set(document["paths"]) == {
        "/segment",
        "/segment/mask",
        "/segment/annotation",
        "/segment/polygons",
        "/segment/geojson",
        "/segment/batch",
        "/evaluate",
        "/evaluate/scores",
        "/corrections",
        "/models",
        "/models/{version}",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_every_answer_has_examples_that_obey_its_schema(document: Json) -> None:
    for path, status, response in responses(document):
        assert response["headers"]["X-Request-Id"]["example"], (path, status)
        for media in response["content"].values():
            examples = [example["value"] for example in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            assert examples, (path, status)
            for example in examples:
                check(document, media["schema"], example)


def test_every_field_has_an_example_that_obeys_its_schema(document: Json) -> None:
    for name, component in document["components"]["schemas"].items():
        for field, schema in component["properties"].items():
            nested = "$ref" in json.dumps(schema)
            assert nested or schema["examples"], (name, field)
            for example in schema.get("examples", []):
                check(document, schema, example)


def test_every_parameter_has_a_description_and_an_example(document: Json) -> None:
    for _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], parameter
            assert parameter["schema"]["examples"], parameter
            for example in parameter["schema"]["examples"]:
                check(document, parameter["schema"], example)


def test_every_problem_that_a_route_can_answer_with_is_an_example(document: Json) -> None:
    documented = {
        slug
        for _, _, response in responses(document)
        for slug in response["content"].get("application/problem+json", {}).get("examples", {})
    }
    # No route of the document can be asked for these; three are answered before any route.
    elsewhere = {
        PROBLEMS[kind].slug
        for kind in (
            NoSuchRouteError,
            MethodNotAllowedError,
            MalformedRequestError,
            HeadTooSlowError,
            HeadTooLargeError,
            LabelStudioError,
        )
    }
    assert documented == BY_SLUG.keys() - elsewhere


def test_files_are_binary_so_that_the_page_offers_a_file_picker(document: Json) -> None:
    for path, field in (("/segment", "image"), ("/evaluate", "truth")):
        body = document["paths"][path]["post"]["requestBody"]["content"]
        schema = body["multipart/form-data"]["schema"]["properties"][field]
        assert schema.get("items", schema)["format"] == "binary"


@pytest.mark.parametrize(
    ("method", "path", "fields", "template"),
    [
        ("post", "/segment?format=rle", ["image"], "/segment"),
        ("post", "/segment/annotation?measurements=true", ["image"], "/segment/annotation"),
        ("post", "/segment/polygons?tolerance_px=0", ["image"], "/segment/polygons"),
        ("post", "/segment/geojson", ["image"], "/segment/geojson"),
        ("post", "/evaluate/scores", ["image", "truth"], "/evaluate/scores"),
        ("post", "/evaluate", ["image", "truth"], "/evaluate"),
        ("post", "/evaluate", ["pred", "truth"], "/evaluate"),
        ("get", "/models", [], "/models"),
        ("get", "/models/production", [], "/models/{version}"),
        ("get", "/healthz", [], "/healthz"),
        ("get", "/readyz", [], "/readyz"),
    ],
)
def test_real_answers_obey_the_document(
    client: TestClient, document: Json, method: str, path: str, fields: list[str], template: str
) -> None:
    mask = client.post("/segment", files={"image": PNG}).content
    files = {field: PNG if field == "image" else mask for field in fields}
    options: Json = {"files": files} if files else {}
    response = client.request(method.upper(), path, **options)
    assert response.status_code == 200
    described = document["paths"][template][method]["responses"]["200"]["content"]
    check(document, described[response.headers["content-type"]]["schema"], response.json())


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/segment/mask?", "/segment?format=png"),
        ("/segment/annotation?measurements=true&", "/segment?format=rle&measurements=true"),
        ("/segment/polygons?tolerance_px=3&", "/segment?format=polygon&tolerance_px=3"),
        ("/segment/geojson?", "/segment?format=geojson"),
    ],
)
def test_a_route_with_one_kind_of_answer_answers_as_segment_does_whatever_is_accepted(
    client: TestClient, path: str, query: str
) -> None:
    one = client.post(path + "threshold=0.4", files={"image": PNG}, headers={"Accept": "text/html"})
    other = client.post(query + "&threshold=0.4", files={"image": PNG})
    assert one.status_code == other.status_code == 200, one.text
    assert one.content == other.content
    assert one.headers["content-type"] == other.headers["content-type"]
    assert "vary" not in one.headers


def test_generators_find_one_type_wherever_one_is_meant(document: Json) -> None:
    for path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            assert "anyOf" not in schema, (path, parameter["name"])
            assert not schema.keys() & {"gt", "ge", "lt", "le"}, "no words of JSON Schema"
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert not {"oneOf", "anyOf"} & media["schema"].keys(), path
            if "properties" in media["schema"]:
                assert next(iter(media["schema"]["properties"])) in ("image", "images")
    for path in ("mask", "annotation", "polygons", "geojson"):
        operation = document["paths"][f"/segment/{path}"]["post"]
        assert len(operation["responses"]["200"]["content"]) == 1
        assert len(operation["requestBody"]["content"]) == 1


def test_the_page_and_all_it_loads_come_from_this_service(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 3
    for link in linked:
        asset = client.get(f"/{link}")
        assert asset.status_code == 200
        assert len(asset.content) > 1_000
    assert "@import" not in client.get("/docs/swagger-ui.css").text


def test_the_root_leads_to_the_page(client: TestClient) -> None:
    assert client.get("/").url.path == "/docs"


def test_errors_may_name_every_field_and_parameter(document: Json) -> None:
    names = {
        parameter["name"]
        for _, operation in operations(document)
        for parameter in operation.get("parameters", [])
    }
    for _, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            names |= media["schema"].get("properties", {}).keys()
    assert names - FIELDS == set(), "name them in service/contract/quoting.py"
