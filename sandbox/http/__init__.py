"""The sandbox behind HTTP, in the words of SandboxFusion's `/run_code`, so that its clients need no change.

    python -m sandbox.http --port 8080

    curl http://127.0.0.1:8080/run_code -H 'Content-Type: application/json' -d '{"code": "print(6 * 7)"}'

Only this folder needs FastAPI and uvicorn; the sandbox itself needs neither. Between processes on one machine nothing here
is needed: `sandbox.Sandbox` answers in a fraction of the time.

| path | answers |
|---|---|
| `POST /run_code` | SandboxFusion's request and reply, see `sandbox.http.protocol` |
| `GET /v1/ping` | `"pong"`: the process lives; needs no token |
| `GET /health` | whether a program runs right now, the isolation, how full it is; 503 if none runs |
| `GET /openapi.json` | the schema of all this |
"""

from sandbox.http.access import CannotServe
from sandbox.http.app import create_app
from sandbox.http.server import ServerOptions, serve, server_limits

__all__ = ["CannotServe", "ServerOptions", "create_app", "serve", "server_limits"]
