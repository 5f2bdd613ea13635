"""The supervisor's side of the control socket. Imports the control wire and the board of faults."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import msgspec

from freehold import ConfigurationError, FreeholdError
from freehold_shop.faults.board import FaultBoard
from freehold_shop.supervisor.control import LINE_BYTES_MAX, ControlResponse, Request

__all__ = ["ControlServer"]

_CLIENT_SECONDS = 2.0
# A path must fit into the 108 bytes of a sockaddr_un.
_PATH_BYTES_MAX = 100


class ControlServer:
    """Answers one request of each client; a client that has sent nothing for two seconds is disconnected."""

    def __init__(self, directory: Path, board: FaultBoard) -> None:
        self._board = board
        path = directory / "control.sock"
        if len(os.fsencode(path)) > _PATH_BYTES_MAX:
            path = Path(tempfile.mkdtemp(prefix="freehold-")) / "control.sock"
        path.unlink(missing_ok=True)
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self.listener.bind(str(path))
        finally:
            os.umask(before)
        self.listener.listen(16)
        self.listener.setblocking(False)

    def serve_one(self) -> None:
        """Accept the next client, read its request, and respond."""
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.settimeout(_CLIENT_SECONDS)
            line = b""
            while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
                content = client.recv(LINE_BYTES_MAX)
                if not content:
                    return
                line += content
            client.sendall(msgspec.json.encode(self._response(line)) + b"\n")

    def close(self) -> None:
        """Accept no more clients."""
        self.listener.close()
        self.path.unlink(missing_ok=True)

    def _response(self, line: bytes) -> ControlResponse:
        try:
            request = msgspec.json.decode(line, type=Request)
            match request.do:
                case "faults":
                    return ControlResponse(self._board.states())
                case "break":
                    return ControlResponse(self._board.begin(request.fault, request.seconds))
                case "heal":
                    return ControlResponse(self._board.heal(request.fault))
        except msgspec.MsgspecError:
            return ControlResponse(error="the request cannot be read", usage=True)
        except FreeholdError as error:
            return ControlResponse(error=error.message, hint=error.hint, usage=isinstance(error, ConfigurationError))
