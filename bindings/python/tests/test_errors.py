"""Every kind of error, as an exception."""

from __future__ import annotations

import pickle
import re

import jarvis
import pytest
from jarvis import _core, errors

BUILT_IN = {
    "NotFoundError": KeyError,
    "InvalidInputError": ValueError,
    "ConfigInvalidError": ValueError,
    "UnauthorizedError": PermissionError,
    "ForbiddenError": PermissionError,
    "TooLargeError": ValueError,
    "ExhaustedError": OSError,
    "UnavailableError": ConnectionError,
    "OperationTimeoutError": TimeoutError,
    "UnsupportedError": NotImplementedError,
    "InternalError": RuntimeError,
}


def test_every_kind_has_its_class() -> None:
    codes = {code for _, code in _core._error_kinds}
    assert codes == set(errors._BY_CODE), "a kind of the core and a class of Python's"
    assert len(codes) == 16
    for code, kind in errors._BY_CODE.items():
        assert issubclass(kind, jarvis.JarvisError)
        assert getattr(jarvis, kind.__name__) is kind
        assert kind.__doc__
        if kind.__name__ in BUILT_IN:
            assert issubclass(kind, BUILT_IN[kind.__name__])


@pytest.mark.parametrize("code", sorted(errors._BY_CODE))
def test_an_error_of_the_core_is_raised_as_its_kind(code: str) -> None:
    with pytest.raises(jarvis.JarvisError) as caught:
        _core._fail(code)
    error = caught.value
    assert type(error) is errors._BY_CODE[code]
    assert error.code == code
    assert error.kind == re.sub("^err_jarvis_", "", code.lower())
    assert error.message == "it was asked for"
    assert error.operation == "python.fail"
    assert error.context == {"code": code}
    assert str(error) == f"it was asked for (python.fail; code: {code})"
    retryable = code in ("ERR_JARVIS_UNAVAILABLE", "ERR_JARVIS_RATE_LIMITED")
    assert error.retryable is retryable
    assert error.retry_after == (1.5 if code == "ERR_JARVIS_RATE_LIMITED" else None)
    assert isinstance(error.__cause__, errors.Cause)
    assert str(error.__cause__) == "the source"


@pytest.mark.parametrize("code", sorted(errors._BY_CODE))
def test_an_error_survives_pickling(code: str) -> None:
    with pytest.raises(jarvis.JarvisError) as caught:
        _core._fail(code)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)
    assert again.__dict__ == caught.value.__dict__


def test_a_panic_is_an_exception() -> None:
    with pytest.raises(jarvis.InternalError, match="it panicked: asked to"):
        _core._panic(True)


async def test_a_panic_on_the_runtime_is_an_exception() -> None:
    with pytest.raises(jarvis.InternalError, match="it panicked: asked to"):
        await _core._panic(False)


def test_ones_own_error_says_what_it_is() -> None:
    error = jarvis.UnavailableError("no answer", retryable=True, retry_after=2)
    assert (error.code, error.kind) == ("ERR_JARVIS_UNAVAILABLE", "unavailable")
    assert (str(error), error.retry_after) == ("no answer", 2)
    assert str(jarvis.NotFoundError("no such thing")) == "no such thing", "not as KeyError says it"


def test_a_configuration_is_refused_with_every_mistake() -> None:
    config = {"sesion": {}, "cache": {"ttl": "soon"}}
    with pytest.raises(jarvis.ConfigInvalidError) as caught:
        jarvis.Jarvis.open(config)
    assert 'did you mean "session"?' in str(caught.value)
    assert "cache.ttl" in str(caught.value.__cause__), "all of them"
    with pytest.raises(jarvis.ConfigInvalidError):
        jarvis.sync.Jarvis.open(store="redsi://here")
    with pytest.raises(jarvis.InvalidInputError, match="mode is"):
        jarvis.Jarvis.open({}, mode="sometimes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        jarvis.Jarvis.open(7)  # type: ignore[arg-type]
    with pytest.raises(jarvis.InvalidInputError):
        jarvis.Jarvis.open({"session": {"ttl": object()}})
    with pytest.raises(jarvis.ConfigInvalidError):
        jarvis.Jarvis.open("/no/such/file.toml")
