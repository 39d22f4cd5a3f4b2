"""Settings: where values come from, and the page that tells of them."""

from pathlib import Path

import pydantic
import pytest

from infra.process.settings import Settings, SettingWrong, explain, load, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_printed_page_is_the_table() -> None:
    assert (DOCS / "settings.md").read_text() == page()


def test_every_setting_says_what_it_means() -> None:
    assert all(row["description"] for row in explain(Settings()))


def test_the_environment_passes_the_file_and_the_file_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gostack.toml"
    file.write_text('[api]\nport = 1234\nlisten = "127.0.0.9"\n')
    monkeypatch.setenv("GOSTACK_CONFIG", str(file))
    monkeypatch.setenv("GOSTACK_API__PORT", "4321")
    settings = load()
    assert (settings.api.port, settings.api.listen) == (4321, "127.0.0.9")
    origins = {row["name"]: row["origin"] for row in explain(settings)}
    assert origins["api.port"] == "environment"
    assert origins["api.listen"] == f"file {file}"
    assert origins["api.max_body"] == "default"


@pytest.mark.parametrize(("text", "named"), [("[api]\nprot = 1\n", "prot"), ("[apy]\nport = 1\n", "apy")])
def test_a_name_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, named: str
) -> None:
    file = tmp_path / "gostack.toml"
    file.write_text(text)
    monkeypatch.setenv("GOSTACK_CONFIG", str(file))
    with pytest.raises(pydantic.ValidationError, match=named):
        load()


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSTACK_CONFIG", "/no/such/file")
    with pytest.raises(SettingWrong, match="/no/such/file"):
        load()
