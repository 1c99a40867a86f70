"""Answers of native methods of the awaitable face."""

from __future__ import annotations

import asyncio
from typing import Any

#: What a native method returns when its answer is not ready at once.
Future = asyncio.Future


async def settled(answer: Any) -> Any:
    """The answer, awaited if necessary.

    Sessions and the cache do the same in place: in memory, where an answer is ready at once, one
    more coroutine would be a good part of the cost of a call.
    """
    return await answer if type(answer) is Future else answer
