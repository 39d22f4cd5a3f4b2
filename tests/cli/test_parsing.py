"""What people type becomes what they mean, or is refused."""

import io
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.gs.parsing import bytes_or_file, one_name, pairs, size, text_or_file, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1K", 1024),
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("4GiB", 4 << 30),
        ("2t", 2 << 40),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-1G", "1.3", "4X", "1 2", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        size(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (None, {}),
        (["a=b"], {"a": "b"}),
        (["a=b,c=d", "e="], {"a": "b", "c": "d", "e": ""}),
        (['"hw:numa_nodes"="2","DISK:VOLUMES_QUOTA"="1,2"'], {"hw:numa_nodes": "2", "DISK:VOLUMES_QUOTA": "1,2"}),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
    ],
)
def test_pairs(texts: list[str] | None, expected: dict[str, str]) -> None:
    assert pairs(texts) == expected


@pytest.mark.parametrize("text", ["a", "a,b=c", "=b", '"a"b'])
def test_what_is_no_pair(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        pairs([text])


@settings(deadline=None)
@given(st.dictionaries(st.text("abc :/=", min_size=1).map(str.strip).filter(bool), st.text("xyz ,=é漢")))
def test_quoted_pairs_come_back_as_they_were(wanted: dict[str, str]) -> None:
    assert pairs([",".join(f'"{key}"="{value}"' for key, value in wanted.items())] if wanted else None) == wanted


def test_lists() -> None:
    assert words(None) is None
    assert words(["a,b", "c"]) == ["a", "b", "c"]
    assert words([""]) == [""]


def test_a_text_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("#!/bin/sh\n")
    assert text_or_file(str(file)) == text_or_file(f"@{file}") == "#!/bin/sh\n"
    for text in (
        "#!/bin/sh\necho hello",
        "x" * 10_000,
        "a\0b",
        "hello",
        "ssh-ed25519 AAAA/B me@a.example",
        "#cloud-config",
    ):
        assert text_or_file(text) == text
    file.write_bytes(b"\xff\xfe")
    for unreadable in (str(file), "@/nowhere/at/all", f"@{tmp_path}", "@"):
        with pytest.raises(typer.BadParameter):
            text_or_file(unreadable)


def test_the_bytes_of_a_file_are_its_own(tmp_path: Path) -> None:
    file = tmp_path / "data"
    for content in (b"#!/bin/sh\r\necho\r\n", b"\x1f\x8b\x08\0\xff", b""):
        file.write_bytes(content)
        assert bytes_or_file(str(file)) == bytes_or_file(f"@{file}") == content


@pytest.mark.parametrize(
    "text",
    [
        "/nonexistent",
        "/no such/file",
        "./setup",
        "../setup",
        "~/setup.sh",
        "setup.sh",
        "cloud-config.yaml",
        "user/data",
        "data.tar.gz",
        "C:\\data",
    ],
)
def test_what_looks_like_a_file_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="There is no file"):
        bytes_or_file(text)


def test_standard_input_serves_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a/b\r\n\xff")))
    assert bytes_or_file("@-") == b"a/b\r\n\xff"


def test_a_name_is_given_once() -> None:
    assert one_name("a", None) == one_name(None, "a") == one_name("a", "a") == "a"
    for argument, option in ((None, None), ("a", "b")):
        with pytest.raises(typer.BadParameter):
            one_name(argument, option)
