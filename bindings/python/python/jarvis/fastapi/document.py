"""What a session holds, and what a request changed of it: no storage, no HTTP."""

from __future__ import annotations

import json
from typing import Any, Dict, FrozenSet, Mapping, MutableMapping, NamedTuple, Optional, Type

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=False
).encode
_canonical = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
).encode


class Changes(NamedTuple):
    """What was changed, by top-level key: it can be applied to a newer version too."""

    put: Mapping[str, Any]
    removed: FrozenSet[str]

    def __bool__(self) -> bool:
        return bool(self.put or self.removed)

    def apply(self, data: MutableMapping[str, Any]) -> None:
        data.update(self.put)
        for key in self.removed:
            data.pop(key, None)


NO_CHANGES = Changes({}, frozenset())


class _View:
    """A model of the data: only the fields that were changed in it are written back."""

    __slots__ = ("before", "model")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.before = _fields(model)

    def changes(self) -> Changes:
        now = _fields(self.model)
        put = {key: json.loads(text) for key, text in now.items() if self.before.get(key) != text}
        return Changes(put, frozenset(self.before.keys() - now.keys()))


def _fields(model: Any) -> Dict[str, str]:
    dumped: Dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    return {key: _canonical(value) for key, value in dumped.items()}


class Document:
    """JSON that is parsed when it is first looked at, and knows what was changed since."""

    __slots__ = ("_data", "_text", "_views")

    def __init__(self, text: str) -> None:
        self._text = text
        self._data: Optional[Dict[str, Any]] = None
        self._views: Dict[Type[Any], _View] = {}

    @property
    def data(self) -> Dict[str, Any]:
        if self._data is None:
            self._data = json.loads(self._text)
        return self._data

    def replace(self, data: Mapping[str, Any]) -> None:
        """Puts other data in the place of all of it."""
        data = dict(data)
        self.data.clear()
        self.data.update(data)

    def view(self, kind: Type[Any]) -> Any:
        """The data as a Pydantic model, always the same one."""
        if kind not in self._views:
            if self._data is None:
                model = kind.model_validate_json(self._text)
            else:
                model = kind.model_validate(self._data)
            self._views[kind] = _View(model)
        return self._views[kind].model

    def put_view(self, kind: Type[Any], model: Any) -> None:
        self.view(kind)
        self._views[kind].model = model

    def changes(self) -> Changes:
        """What differs from what is stored.

        Raises:
            TypeError, ValueError: Something in it has no form in JSON.
        """
        views = [view.changes() for view in self._views.values()]
        if self._data is None and not any(views):
            return NO_CHANGES
        now = dict(self.data)
        for changed in views:
            changed.apply(now)
        if _encode(now) == self._text:
            return NO_CHANGES
        before = {key: _canonical(value) for key, value in json.loads(self._text).items()}
        put = {key: value for key, value in now.items() if before.get(key) != _canonical(value)}
        return Changes(put, frozenset(before.keys() - now.keys()))

    def stored(self, text: str) -> None:
        """This is what is stored now, with these changes and perhaps with those of others."""
        self._text = text
        if self._data is not None:
            self._take(json.loads(text))
        for view in self._views.values():
            view.before = _fields(view.model)

    def _take(self, stored: Dict[str, Any]) -> None:
        """Keeps the objects that are as they were: somebody may hold on to them."""
        mine = dict(self.data)
        self.data.clear()
        for key, value in stored.items():
            same = key in mine and _canonical(mine[key]) == _canonical(value)
            self.data[key] = mine[key] if same else value

    def forget(self, text: str) -> None:
        """This is what is stored; what was not saved is dropped, and models are made anew."""
        self._views.clear()
        self.stored(text)
