"""An embedded Ray on a machine that is too busy for it."""

from __future__ import annotations

import pytest

from sweeps import pack

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What `ray.init` was called with, once `_init` has replaced it by one that fails as told and then works."""
    made: list[dict[str, object]] = []
    monkeypatch.setattr(pack.ray, "shutdown", lambda: None)
    return made


def _init(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], *failures: Exception) -> None:
    waiting = list(failures)

    def init(**options: object) -> None:
        attempts.append(options)
        if waiting:
            raise waiting.pop(0)

    monkeypatch.setattr(pack.ray, "init", init)


def test_a_late_start_is_tried_once_more(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, Exception(LATE))
    pack._start_ray(None)
    assert [options["address"] for options in attempts] == ["local", "local"]


def test_two_late_starts_are_one_sentence(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, Exception(LATE), Exception(LATE), AssertionError("a third start"))
    with pytest.raises(ValueError, match=r"too busy.*sweep resume"):
        pack._start_ray(None)


def test_any_other_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, OSError("no space left on device"))
    with pytest.raises(OSError, match="no space left"):
        pack._start_ray(None)
    assert len(attempts) == 1
