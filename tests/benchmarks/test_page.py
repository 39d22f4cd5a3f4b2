"""The page on performance says what was measured, and nothing else."""

from tests.benchmarks import page


def test_the_page_is_that_of_the_figures_that_are_kept() -> None:
    assert page.PAGE.read_text() == page.kept()
