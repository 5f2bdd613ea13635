"""The clinic behind HTTP, for uvicorn with several workers: `uvicorn tests.integration.runtime.clinic_api:app`."""

from __future__ import annotations

import os

from tests.integration.runtime.clinic import Admit, clinic

from freehold.http import Tx, create_app

app = create_app(clinic)


@app.post("/patients/{name}", status_code=202)
async def admit(name: str, tx: Tx) -> dict[str, int]:
    tx.send(Admit(name))
    return {"worker": os.getpid()}
