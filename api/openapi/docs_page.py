"""The page /docs, on which a browser shows the API's description and tries it out.

Why served from here: a page whose scripts come from somebody else's server lets that server command the API. Its files
are those of Swagger UI that the package `fastapi-offline` carries, and its policy lets the browser run nothing else.
"""

from importlib.resources import files

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, HTMLResponse, Response

PATH = "/docs"
PACKAGE = "fastapi_offline"
SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
START = "start.js"
"""Name of the script that shows the description; one within the page would need a weaker policy."""
PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>GoStack</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/{STYLE}">
</head>
<body>
<div id="docs"></div>
<script src="docs/{SCRIPT}"></script>
<script src="docs/{START}"></script>
</body>
</html>
"""
STARTED = """SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page. Swagger UI sets styles of single elements, and its icons are in its style."""


FILES = {SCRIPT: "text/javascript", STYLE: "text/css"}
"""The files of the package that are served, and what they are."""


def install(app: FastAPI) -> None:
    """Serve the page and its files."""

    async def page() -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def start() -> Response:
        return Response(STARTED, media_type="text/javascript")

    async def file(request: Request) -> Response:
        name = request.url.path.removeprefix(f"{PATH}/")
        return FileResponse(str(files(PACKAGE) / "static" / name), media_type=FILES[name])

    app.add_api_route(PATH, page, include_in_schema=False)
    app.add_api_route(f"{PATH}/{START}", start, include_in_schema=False)
    for name in FILES:
        app.add_api_route(f"{PATH}/{name}", file, include_in_schema=False)
