"""Where packages come from, as this machine's apt has it."""

from pathlib import Path

from infra.images.packages import release, sources

OTHERS = "deb https://packages.example.com/apt cloud-sdk-{} main\n"


def test_the_sources_are_those_of_the_release(tmp_path: Path) -> None:
    further = tmp_path / "sources.list.d"
    further.mkdir()
    (tmp_path / "sources.list").write_text(f"deb http://mirror/debian {release()}-updates main\n")
    (further / "debian.sources").write_text(f"Types: deb\nURIs: http://mirror/debian\nSuites: {release()}\n")
    (further / "sdk.list").write_text(OTHERS.format(release()))
    (further / "node.sources").write_text("Types: deb\nURIs: https://node.example.com\nSuites: nodistro\n")
    (further / "kept.list.save").write_text(f"deb http://mirror/debian {release()} main\n")
    assert [path.name for path in sources(tmp_path)] == ["sources.list", "debian.sources"]


def test_where_none_names_the_release_all_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror/debian stable main\n")
    assert [path.name for path in sources(tmp_path)] == ["sources.list"]
