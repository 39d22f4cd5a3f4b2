"""The page /docs: a browser needs nothing of anybody else for it, and its policy lets it load nothing else."""

import re

from tests.api.api import Api


async def test_the_page_loads_from_here_and_from_nowhere_else(api: Api) -> None:
    page = await api.http.get("/docs")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "//" not in page.text
    assert not re.search(r"<script>|\son\w+=|style=", page.text), "the policy would not let it run"
    loaded = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert len(loaded) == 3
    for each in loaded:
        answer = await api.http.get(f"/{each}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].partition(";")[0] in ("text/javascript", "text/css")
        assert answer.text.strip()
    (described,) = re.findall(r'url: "([^"]+)"', (await api.http.get("/docs/start.js")).text)
    assert (await api.http.get(f"/{described}")).json()["openapi"]


async def test_only_the_files_of_the_page_are_given(api: Api) -> None:
    for path in ("/docs/redoc.standalone.js", "/docs/..%2f__init__.py", "/docs/", "/redoc", "/docs/oauth2-redirect"):
        assert (await api.http.get(path)).status_code == 404, path
