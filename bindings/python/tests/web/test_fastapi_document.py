"""The changes of a request, and their merge with what others stored."""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Dict, List, Optional

import pytest
from jarvis.fastapi.document import Document
from pydantic import BaseModel

KEYS = ["a", "b", "c", "d", "e"]
VALUES: List[Any] = [0, 1, True, False, None, 1.5, "", "ü", [], [1, [2]], {}, {"x": {"y": [None]}}]


def some(random_: random.Random) -> Dict[str, Any]:
    keys = random_.sample(KEYS, random_.randint(0, len(KEYS)))
    return {key: copy.deepcopy(random_.choice(VALUES)) for key in keys}


def same(one: Any, other: Any) -> bool:
    """As JSON: 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_changes_lead_from_before_to_after_and_touch_nothing_else() -> None:
    random_ = random.Random(7)
    for _ in range(2000):
        before, after, others = some(random_), some(random_), some(random_)
        document = Document(json.dumps(before, indent=random_.choice([None, 2])))
        document.replace(after)
        assert document.is_changed() == (not same(before, after)), (before, after)
        assert same(document.on(json.dumps(before)), after), (before, after)
        merged = document.on(json.dumps(others))
        for key in KEYS:
            untouched = same([before.get(key, "gone")], [after.get(key, "gone")])
            expected = others if untouched else after
            assert same([merged.get(key, "gone")], [expected.get(key, "gone")]), key


def test_nested_changes_are_seen() -> None:
    document = Document('{"list": [{"x": 1}], "other": 2}')
    assert not document.is_changed()
    document.data["list"][0]["x"] = 2
    assert document.is_changed()
    assert document.on('{"theirs":1}') == {"theirs": 1, "list": [{"x": 2}]}
    document.data["list"][0]["x"] = 1
    assert not document.is_changed()


def test_another_order_of_keys_is_no_change() -> None:
    document = Document('{"a": {"x": 1, "y": 2}, "b": 3}')
    document.replace({"b": 3, "a": {"y": 2, "x": 1}})
    assert not document.is_changed()


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"bytes"])
def test_what_has_no_form_in_json_is_refused(value: Any) -> None:
    document = Document("{}")
    document.data["a"] = value
    with pytest.raises((TypeError, ValueError)):
        document.is_changed()


class Cart(BaseModel):
    songs: List[str] = []
    note: Optional[str] = None


def test_a_model_and_the_dict_are_one_document() -> None:
    stored = '{"other": 1, "songs": ["a"]}'
    document = Document(stored)
    cart = document.view(Cart)
    assert document.view(Cart) is cart and not document.is_changed()
    document.data["more"] = 2
    cart.songs.append("b")
    assert document.on("{}") == {"more": 2, "songs": ["a", "b"]}
    document.stored('{"other":1,"songs":["a","b"],"more":2,"theirs":3}')
    assert not document.is_changed() and document.data["theirs"] == 3
    cart.note = "now"
    assert document.on("{}") == {"note": "now"}
    document.put_view(Cart, Cart(songs=["c"]))
    assert document.on('{"other":2}') == {"other": 2, "songs": ["c"]}
    document.forget("{}")
    assert document.view(Cart) == Cart() and not document.is_changed()
