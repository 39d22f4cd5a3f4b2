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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[api]\nprot = 1\n", r"^api\.prot in .* is the name of no setting: did you mean api\.port\?$"),
        ("[apy]\nport = 1\n", r"^\[apy\] in .* is the name of no section: did you mean api\?$"),
        ("[api\nport = 1\n", "which is no TOML"),
    ],
)
def test_a_name_in_the_file_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    file = tmp_path / "gostack.toml"
    file.write_text(text)
    monkeypatch.setenv("GOSTACK_CONFIG", str(file))
    with pytest.raises(SettingWrong, match=told):
        load()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("GOSTACK_APII__PORT", ": did you mean GOSTACK_API__PORT?"),
        ("GOSTACK_API__PROT", ": did you mean GOSTACK_API__PORT?"),
        ("gostack_worker__instanze", ": did you mean GOSTACK_WORKER__INSTANCE?"),
        ("GOSTACK_XYZZY__Q", ""),
    ],
)
def test_a_variable_that_no_setting_has_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SettingWrong) as caught:
        load()
    assert str(caught.value) == f"{variable} is the name of no setting{meant}"


def test_variables_of_settings_and_of_others_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "GOSTACK_AGENT__FAILURES__StartGuest": "0.5",
        "gostack_api__port": "4321",
        # What Kubernetes gives to the neighbours of a service called gostack-api.
        "GOSTACK_API_PORT": "tcp://10.0.0.1:7480",
        "OTHER__NAME": "1",
    }.items():
        monkeypatch.setenv(variable, value)
    settings = load()
    assert settings.agent.failures == {"startguest": 0.5}
    assert settings.api.port == 4321


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSTACK_CONFIG", "/no/such/file")
    with pytest.raises(SettingWrong, match="/no/such/file"):
        load()


@pytest.mark.parametrize("content", [b"[log\n", b"\xff", b"a = "])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    monkeypatch.setenv("GOSTACK_CONFIG", str(file))
    with pytest.raises(SettingWrong, match="GOSTACK_CONFIG names"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GOSTACK_AGENT__NAME", "a/b", "slash"),
        ("GOSTACK_AGENT__ZONE", "6f1c1b1e-0d5c-4f43-9a53-0b5a2f3d7c10", "like an ID"),
        ("GOSTACK_WORKER__INSTANCE", "a b", "letters, digits, dots"),
        ("GOSTACK_TRACES__ENDPOINT", "nonsense", "begins with http"),
        ("GOSTACK_NETWORKS__RESERVED", "10.0.0.0/8,10.0.0.1/24", "host bits set"),
    ],
)
def test_what_a_setting_allows_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(pydantic.ValidationError) as wrong:
        load()
    (error,) = wrong.value.errors()
    assert said in error["msg"]
    assert "^" not in error["msg"]
