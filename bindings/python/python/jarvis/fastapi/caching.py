"""Cached answers of endpoints: :func:`cached`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import string
from typing import (
    Any,
    Awaitable,
    Callable,
    Coroutine,
    Dict,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    TypeVar,
    Union,
    cast,
    get_type_hints,
    overload,
)
from urllib.parse import quote

from pydantic import PydanticSchemaGenerationError, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from typing_extensions import ParamSpec

from jarvis._types import Seconds
from jarvis.fastapi.lifespan import only_jarvis
from jarvis.jarvis import Jarvis

P = ParamSpec("P")
R = TypeVar("R")

#: Longer keys are replaced by their hash; the cache accepts 512 bytes.
_MAX_KEY = 256

#: A key or a tag: a template over the arguments, or a function of them.
Template = Union[str, Callable[..., str]]


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]: ...


def cached(
    *,
    ttl: Optional[Seconds] = None,
    tags: Sequence[Template] = (),
    key: Optional[Template] = None,
    stale: Optional[Seconds] = None,
    early: float = 0.0,
    jarvis: Optional[Jarvis] = None,
) -> _Decorator:
    """Caches the answers of an endpoint, or of any other function::

        @app.get("/songs/{song}")
        @cached(ttl=300, tags=["song:{song}"], key="song:{song}")
        async def song(song: str) -> Song: ...

    However many callers ask at once, in this process and in others on the same storage, one computes
    and the others get its answer. An exception, such as an ``HTTPException``, is raised to all who
    waited, and nothing is cached. When the cache is down, the function is simply called.

    The function keeps its signature. A plain function becomes a coroutine function whose body runs
    on a thread, as FastAPI does it; a hit needs no thread.

    Answers are stored as JSON and returned as the type of the return annotation, on a hit and on a
    miss: Pydantic models, dataclasses, lists of them. Without an annotation they are plain JSON
    values. A ``Response`` can't be cached.

    Args:
        ttl: How long an answer lives, in seconds or as a timedelta; by default the policy's,
            5 minutes unless configured.
        tags: Tags that invalidate it: ``await jarvis.cache.invalidate_tag("song:7")``. At most 4;
            templates like ``key``.
        key: A template over the arguments, ``"song:{song}"``, whose values are percent-encoded, or
            a function of the same arguments. By default the function's name and all its arguments,
            which must then be plain values: a request, a session or a database object is a
            TypeError, since the answer must not depend on who asks.
        stale: How long an expired answer may still be returned while a new one is computed, and
            when that fails.
        early: Computes again in the background shortly before the end; 1.0 is the usual weight.
        jarvis: The handle whose cache is used; by default that of :func:`lifespan`.

    Raises:
        TypeError: At once, if a template names an unknown argument; at a call, if a value can't be
            written as JSON.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        call = _Call(function, key, tags)
        answer = _Answer(function)

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            bound = call.bind(args, kwargs)
            cache = (jarvis or only_jarvis()).cache
            text = await cache.get_or_load(
                call.key(bound),
                functools.partial(answer.compute, args, kwargs),
                ttl=ttl,
                tags=call.tags(bound),
                stale=stale,
                early=early,
                raw=True,
            )
            return answer.read(text)

        # Annotations that are text refer to names of the function's module, not of this one.
        wrapper.__signature__ = call.resolved()  # type: ignore[attr-defined]
        return wrapper

    return cast(_Decorator, decorate)


class _Call:
    """The arguments of a call, and the key and tags that follow from them."""

    def __init__(
        self, function: Callable[..., Any], key: Optional[Template], tags: Sequence[Template]
    ) -> None:
        self._function = function
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        for template in [*tags] if key is None else [key, *tags]:
            self._check(template)
        self._key = key
        self._tags = tuple(tags)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def key(self, arguments: Mapping[str, Any]) -> str:
        if self._key is None:
            key = f"{self._name}:{_written(self._name, arguments)}"
        elif callable(self._key):
            key = self._key(**arguments)
        else:
            key = _QUOTED.vformat(self._key, (), arguments)
        if len(key.encode()) <= _MAX_KEY:
            return key
        return f"{self._name[:128]}:{hashlib.sha256(key.encode()).hexdigest()}"

    def tags(self, arguments: Mapping[str, Any]) -> list[str]:
        return [
            tag(**arguments) if callable(tag) else _PLAIN.vformat(tag, (), arguments)
            for tag in self._tags
        ]

    def resolved(self) -> inspect.Signature:
        """The signature with resolved annotations."""
        try:
            hints = get_type_hints(self._function, include_extras=True)
        except NameError:
            # A name is defined later in the module; FastAPI reports it if it needs it.
            return self._signature
        parameters = [
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in self._signature.parameters.items()
        ]
        returns = hints.get("return", self._signature.return_annotation)
        return self._signature.replace(parameters=parameters, return_annotation=returns)

    def _check(self, template: Template) -> None:
        if callable(template):
            return
        for _text, field, _spec, _conversion in string.Formatter().parse(template):
            if field is not None and field.split(".")[0].split("[")[0] not in self._signature.parameters:
                raise TypeError(
                    f"@cached: {template!r} names {field!r}, which is not an argument of {self._name}"
                )


class _Quoted(string.Formatter):
    """Percent-encodes values, so that different calls have different keys."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return quote(str(super().format_field(value, format_spec)), safe="")


_QUOTED = _Quoted()
_PLAIN = string.Formatter()


def _written(name: str, arguments: Mapping[str, Any]) -> str:
    for argument, value in arguments.items():
        try:
            to_json(value)
        except (PydanticSerializationError, ValueError):
            raise TypeError(
                f"@cached: the argument {argument!r} of {name}, a {type(value).__name__}, can't be "
                "part of a key; pass key= with what the answer depends on"
            ) from None
    return to_json({argument: arguments[argument] for argument in arguments}).decode()


class _Answer:
    """The answers of a function, as the cache stores them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._async = inspect.iscoroutinefunction(function)
        self._adapter: Optional[TypeAdapter[Any]] = None

    async def compute(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        if self._async:
            value = await self._function(*args, **kwargs)
        else:
            value = await run_in_threadpool(self._function, *args, **kwargs)
        if isinstance(value, Response):
            raise TypeError("@cached can't cache a Response: return the value itself")
        adapter = self._adapter_of()
        try:
            # As in FastAPI, a dict or an object may stand for a model.
            value = adapter.validate_python(value, from_attributes=True)
            return adapter.dump_json(value, by_alias=True)
        except PydanticSerializationError as error:
            raise TypeError(f"@cached: the answer can't be written as JSON: {error}") from error

    def read(self, text: bytes) -> Any:
        return self._adapter_of().validate_json(text)

    def _adapter_of(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            hints = get_type_hints(self._function, include_extras=True)
            try:
                self._adapter = TypeAdapter(hints.get("return", Any))
            except PydanticSchemaGenerationError as error:
                raise TypeError(
                    f"@cached: the return type of {self._function.__qualname__} can't be written as "
                    "JSON"
                ) from error
        return self._adapter
