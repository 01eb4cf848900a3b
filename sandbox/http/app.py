"""The application: SandboxFusion's paths on an open sandbox."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from sandbox.api import Sandbox
from sandbox.errors import SandboxError
from sandbox.http.access import Access, Refusal
from sandbox.http.admission import Admission
from sandbox.http.gate import PING, Gate, answer
from sandbox.http.health import Condition, Health, HealthReport
from sandbox.http.protocol import RunCodeRequest, RunCodeResponse, reply
from sandbox.result import Status


def create_app(sandbox: Sandbox, access: Access, admission: Admission) -> FastAPI:
    """The ASGI application that runs programs in `sandbox`, which its owner opens before and closes after.

    Args:
        sandbox: must be open while requests are served.
        access: who may use it.
        admission: how many requests are in the house at a time.
    """
    # The usual pages of documentation load scripts from elsewhere, and redirects cost clients a second request.
    app = FastAPI(title="Sandbox", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Gate, access=access, admission=admission)
    _answer_errors_alike(app)
    health = Health(sandbox, admission)

    @app.post("/run_code")
    @app.post("/run_code/", include_in_schema=False)
    async def run_code(body: RunCodeRequest, response: Response) -> RunCodeResponse:
        """Runs one program. A client that hangs up ends it."""
        try:
            result = await sandbox.arun(
                body.code,
                timeout=body.run_timeout,
                files=body.contents,
                fetch=body.fetch_files,
                stdin=body.input_bytes,
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        health.note(result)
        response.headers["Server-Timing"] = f"queue;dur={result.queue_ms:.1f}, run;dur={result.wall_ms:.1f}"
        if result.status is Status.CANCELLED:
            response.status_code = 503  # only the server's end cancels while the client waits
        return reply(result)

    @app.get(PING)
    async def ping() -> str:
        """Says that the process lives, whatever becomes of programs."""
        return "pong"

    @app.get("/health")
    async def report_health(response: Response) -> HealthReport:
        """Says whether programs run; 503 if they do not."""
        report = await health.check()
        if report.status is Condition.FAILING:
            response.status_code = 503
        return report

    return app


def _answer_errors_alike(app: FastAPI) -> None:
    """Gives every refusal the body that SandboxFusion's clients read, whether or not they look at the status."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(map(str, fault['loc'][1:])) or 'body'}: {fault['msg']}" for fault in error.errors()]
        return answer(Refusal(422, "; ".join(faults)))

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> Response:
        return answer(Refusal(error.status_code, str(error.detail), error.headers or {}))

    @app.exception_handler(SandboxError)
    async def closed(_: Request, error: SandboxError) -> Response:
        return answer(Refusal(503, f"the server is stopping: {error}"))
