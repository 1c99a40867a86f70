"""The data of a session, and what a request changed in it: no storage, no HTTP."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional, Type

from jarvis._core import _merged

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
).encode


class _View:
    """A Pydantic model of the data. Only fields that changed in the model are written back."""

    __slots__ = ("before", "model")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.before = _dumped(model)

    def on(self, data: str) -> str:
        """The data with the changes of the model on top."""
        now = _dumped(self.model)
        return data if now == self.before else _merged(self.before, now, data)


def _dumped(model: Any) -> str:
    return _encode(model.model_dump(mode="json", by_alias=True))


class Document:
    """JSON that is parsed when it is first read, and that knows what was changed since."""

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
        """Replaces all data."""
        data = dict(data)
        self.data.clear()
        self.data.update(data)

    def view(self, kind: Type[Any]) -> Any:
        """The data as a Pydantic model, always the same object."""
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

    def is_changed(self) -> bool:
        """Whether anything differs from what is stored.

        Raises:
            TypeError, ValueError: Something in it can't be written as JSON.
        """
        before, now = self._text, self._now()
        return now != before and _merged(before, now, before) != _merged(before, before, before)

    def on(self, stored: str) -> Dict[str, Any]:
        """The data that is stored by now, with the changes of this document on top."""
        merged: Dict[str, Any] = json.loads(_merged(self._text, self._now(), stored))
        return merged

    def stored(self, text: str) -> None:
        """Takes what is stored now: these changes, and perhaps those of other requests."""
        self._text = text
        if self._data is not None:
            self._take(json.loads(text))
        for view in self._views.values():
            view.before = _dumped(view.model)

    def forget(self, text: str) -> None:
        """Takes what is stored, drops unsaved changes, and creates models again."""
        self._views.clear()
        self.stored(text)

    def _now(self) -> str:
        now = self._text if self._data is None else _encode(self._data)
        for view in self._views.values():
            now = view.on(now)
        return now

    def _take(self, stored: Dict[str, Any]) -> None:
        """Keeps objects that have not changed, since the endpoint may hold on to them."""
        mine = dict(self.data)
        self.data.clear()
        for key, value in stored.items():
            same = key in mine and _canonical(mine[key]) == _canonical(value)
            self.data[key] = mine[key] if same else value
