"""The servers of tests as containers: what can be known of them where no Docker daemon answers."""

import importlib


def test_what_starts_containers_is_imported_without_a_warning() -> None:
    """A warning ends a test here, and where no daemon answers nothing else imports this."""
    assert importlib.import_module("tests.containers")
