"""A vocal coach: a FastAPI service with sessions, cached answers, tracking and health.

    pip install './bindings/python[fastapi]' 'uvicorn[standard]'
    uvicorn --app-dir examples/python coach:app --port 8000

    curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?name=ada'
    curl -c jar -b jar -X POST http://127.0.0.1:8000/takes \
         -H 'content-type: application/json' -d '{"target": "A4", "hertz": [438.2, 440.9, 441.5]}'
    curl -b jar http://127.0.0.1:8000/me
    curl http://127.0.0.1:8000/exercises/soprano
    curl -c jar -b jar -X POST http://127.0.0.1:8000/logout

By default sessions are in ``jarvis.db`` in the state directory, and the cache is in memory. With
``JARVIS_STORE__SESSION=redis://127.0.0.1:6379`` and ``JARVIS_STORE__CACHE=redis://127.0.0.1:6379``
any number of workers and machines share both.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Optional

from fastapi import Depends, FastAPI, HTTPException, Query, WebSocket, WebSocketDisconnect
from jarvis.fastapi import (
    JarvisDep,
    Session,
    SessionMiddleware,
    TrackingMiddleware,
    add_error_handlers,
    cached,
    health_router,
    lifespan,
    session_of,
)
from pydantic import BaseModel, Field

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
RANGES = {"soprano": (60, 84), "alto": (53, 77), "tenor": (48, 72), "bass": (40, 64)}

Voice = Literal["soprano", "alto", "tenor", "bass"]


class Practice(BaseModel):
    """The session data of a singer."""

    takes: int = 0
    best: Optional[float] = Field(default=None, description="the smallest distance so far, in cents")


class Take(BaseModel):
    target: str = Field(pattern=r"^[A-G]#?[0-8]$", description="the note to sing")
    hertz: list[float] = Field(min_length=1, max_length=10_000, description="the pitch, frame by frame")


class Report(BaseModel):
    cents_off: float = Field(description="the mean distance to the note; 100 is a semitone")
    steady: bool
    practice: Practice


class Exercise(BaseModel):
    name: str
    notes: list[str]


PracticeSession = Annotated[Session[Practice], Depends(session_of(Practice))]


async def singer(session: PracticeSession) -> str:
    """The user who is logged in; 401 without one."""
    if session.user is None:
        raise HTTPException(401)
    return session.user


Singer = Annotated[str, Depends(singer)]

app = FastAPI(title="Vocal coach", lifespan=lifespan())
app.add_middleware(SessionMiddleware, cookie_name="coach_sid")
app.add_middleware(TrackingMiddleware, service="coach")
app.include_router(health_router(metrics=True))
add_error_handlers(app)


@app.post("/login")
async def login(name: Annotated[str, Query(min_length=1, max_length=64)], session: PracticeSession) -> None:
    """Changes the rights, and so the session id. A real service asks for more than a name."""
    session.regenerate(user=name)


@app.post("/logout")
async def logout(session: PracticeSession) -> None:
    session.destroy()


@app.post("/logout/everywhere")
async def logout_everywhere(name: Singer, session: PracticeSession, jarvis: JarvisDep) -> int:
    """Ends the singer's sessions on other machines. Returns how many."""
    return await jarvis.sessions.clear(name, except_=session.id)


@app.get("/me")
def me(name: Singer, session: PracticeSession) -> Practice:
    return session.data


@app.post("/takes")
async def takes(take: Take, name: Singer, session: PracticeSession) -> Report:
    off = [cents(hertz, take.target) for hertz in take.hertz]
    mean = sum(map(abs, off)) / len(off)
    practice = session.data
    practice.takes += 1
    practice.best = mean if practice.best is None else min(practice.best, mean)
    return Report(cents_off=mean, steady=max(off) - min(off) < 50, practice=practice)


@app.get("/exercises/{voice}")
@cached(ttl=300, key="exercises:{voice}", tags=["exercises"])
async def exercises(voice: Voice) -> list[Exercise]:
    """The same for all singers of a voice, so it is computed once for all."""
    low, high = RANGES[voice]
    return [
        Exercise(name=f"five notes on {note(root)}", notes=[note(root + step) for step in (0, 2, 4, 5, 7)])
        for root in range(low, high - 7)
    ]


@app.websocket("/live/{target}")
async def live(socket: WebSocket, target: str, session: PracticeSession) -> None:
    """Returns the distance of each pitch while somebody sings. A logout elsewhere ends it."""
    if session.user is None:
        await socket.close(1008)
        return
    await socket.accept()
    try:
        while await session.reload():
            hertz = float(await socket.receive_text())
            await socket.send_json({"cents_off": cents(hertz, target)})
        await socket.close(1008)
    except WebSocketDisconnect:
        pass
    except ValueError:
        await socket.close(1007)


def note(midi: int) -> str:
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def cents(hertz: float, target: str) -> float:
    """The distance of a pitch from a note, in equal temperament with A4 = 440 Hz.

    Raises:
        ValueError: The pitch or the note is not valid.
    """
    midi = NOTES.index(target[:-1]) + 12 * (int(target[-1]) + 1)
    if not 0 < hertz < 20_000:
        raise ValueError(f"{hertz} Hz is not a valid pitch")
    return 1200 * math.log2(hertz / 440) - 100 * (midi - 69)
