"""The pages for people: the API's documentation and what each problem means."""

import re
from html import escape
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from service.contract.errors import NoSuchRouteError
from service.contract.openapi import document
from service.contract.problem import Problem
from service.contract.problems import BY_SLUG
from service.server.headers import page_policy

router = APIRouter(include_in_schema=False)

# Swagger UI as an installed package carries it: the page works without internet.
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
# Twenty kinds of answer with their examples are 6,000 px tall; and the file, which every request
# needs, comes before the parameters, which few do.
_STYLE = """\
<style>
.responses-table:not(.live-responses-table) { display: block; max-height: 24rem; overflow: auto }
.opblock-section { display: flex; flex-direction: column }
.opblock-section > .opblock-section-header { order: -2 }
.opblock-section > .opblock-section-request-body { order: -1 }
</style>
"""
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 42rem; margin: 3rem auto }}</style>
</head>
<body>
{body}
</body>
</html>
"""


@router.get("/")
async def index() -> Response:
    """To the documentation."""
    return RedirectResponse("docs")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(document(request.app))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # by default it asks a public server
    )
    return _page(bytes(page.body).decode().replace("</head>", _STYLE + "</head>"))


@router.get("/docs/{asset}")
def docs_asset(asset: str) -> Response:
    """Serve a file of Swagger UI."""
    if asset not in _ASSETS:
        raise NoSuchRouteError(f"there is no such file, only {', '.join(_ASSETS)}")
    content = (files("fastapi_offline") / "static" / asset).read_bytes()
    headers = {"Cache-Control": "max-age=86400"}
    return Response(content, headers=headers, media_type=_ASSETS[asset])


@router.get("/problems")
async def all_problems() -> Response:
    """Explain every problem."""
    body = "\n".join(_section(problem) for problem in BY_SLUG.values())
    return _page(_PAGE.format(title="Problems", body=body))


@router.get("/problems/{slug}")
async def problem(slug: str) -> Response:
    """Explain one problem; its address is the `type` of such problems."""
    if slug not in BY_SLUG:
        raise NoSuchRouteError("there is no such problem; /problems lists them all")
    return _page(_PAGE.format(title=BY_SLUG[slug].title, body=_section(BY_SLUG[slug])))


def _page(html: str) -> Response:
    return HTMLResponse(html, headers={"Content-Security-Policy": page_policy(html)})


def _section(problem: Problem) -> str:
    example = f"<p>Example: <q>{escape(problem.example)}</q></p>\n" if problem.example else ""
    meaning = re.sub("`(.+?)`", r"<code>\1</code>", escape(problem.meaning))
    return (
        f'<h1 id="{problem.slug}">{problem.slug}</h1>\n'
        f"<p><strong>{problem.status} {escape(problem.title)}</strong></p>\n"
        f"<p>{meaning}</p>\n{example}"
    )
