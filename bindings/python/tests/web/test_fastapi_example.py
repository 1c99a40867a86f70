"""The example of the vocal coach works as its documentation says."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import websockets
from kit import browser, serve

EXAMPLES = Path(__file__).parents[4] / "examples" / "python"


@pytest.fixture
def coach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jarvis.toml").write_text('[jarvis]\nstate_dir = "state"\n')
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sys.modules.pop("coach", None)
    return importlib.import_module("coach")


async def test_a_singer_practises(coach: Any) -> None:
    async with serve(coach.app) as address, browser(address) as ada, browser(address) as phone:
        assert Path(coach.app.state.jarvis.state_dir) == Path.cwd() / "state"
        assert (await ada.get("/me")).status_code == 401
        assert (await ada.get("/health")).status_code == 200
        for one in (ada, phone):
            assert (await one.post("/login", params={"name": "ada"})).status_code == 200
        take = {"target": "A4", "hertz": [438.2, 440.9, 441.5]}
        report = (await ada.post("/takes", json=take)).json()
        assert 0 < report["cents_off"] < 7 and report["steady"]
        assert (await ada.post("/takes", json={"target": "H9", "hertz": [1]})).status_code == 422
        await ada.post("/takes", json={"target": "A4", "hertz": [440]})
        assert (await ada.get("/me")).json() == {"takes": 2, "best": 0}
        found = (await ada.get("/exercises/soprano")).json()
        assert found[0] == {"name": "five notes on C4", "notes": ["C4", "D4", "E4", "F4", "G4"]}
        assert (await ada.get("/exercises/soprano")).json() == found
        assert (await coach.app.state.jarvis.cache.stats())["loads"] == 1

        cookie = {"cookie": f"coach_sid={phone.cookies['coach_sid']}"}
        live = address.replace("http", "ws") + "/live/A4"
        async with websockets.connect(live, additional_headers=cookie, proxy=None) as socket:
            await socket.send("880")
            assert json.loads(await socket.recv()) == {"cents_off": 1200}
            assert (await ada.post("/logout/everywhere")).json() == 1
            await socket.send("440")
            await socket.recv()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        assert (await phone.get("/me")).status_code == 401
        assert (await ada.post("/logout")).status_code == 200
        assert (await ada.get("/me")).status_code == 401
