"""The application: JSON of runs below ``/api``, the packaged page for everything else, nothing from any other place."""

from importlib import resources
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Query, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thor_ray.dashboard.access import SECURITY_HEADERS, Access, Refusal
from thor_ray.dashboard.catalogue import Catalogue, RunView
from thor_ray.dashboard.demonstrations import candidates_object
from thor_ray.dashboard.details import tokens_object, trajectory_object
from thor_ray.dashboard.families import group_object, tree_object
from thor_ray.dashboard.index import Snapshot
from thor_ray.dashboard.query import (
    MAX_PAGE,
    Order,
    RolloutQuery,
    counts,
    labelled,
    matching,
    page,
    statuses_hold,
)
from thor_ray.dashboard.reading import NotRecordedError, one_record, rows_where
from thor_ray.dashboard.statuses import Status
from thor_ray.dashboard.timing import timing_object
from thor_ray.errors import UserError
from thor_ray.segments import printable
from thor_ray.tirgen.inspection import Wanted

MAX_WORDS: Final = 1000
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_EQUAL_COLUMNS: Final = ("stage", "round", "group_uid", "problem_id", "parent_id")

Words = Annotated[str, Query(max_length=MAX_WORDS)]


def create_app(catalogue: Catalogue, access: Access) -> ASGIApp:
    """The page over ``catalogue`` for whom ``access`` lets in."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(UserError, _say)
    _add_runs(app, catalogue)
    _add_trajectories(app, catalogue)
    _add_page(app)
    return Guard(GZipMiddleware(app, minimum_size=2048, compresslevel=3), access)


def packaged_files() -> dict[str, tuple[bytes, str]]:
    """The page's files, by their path in an address: content and type.

    They are all read at the start, so that no address is ever made a path.
    """
    found: dict[str, tuple[bytes, str]] = {}

    def gather(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                gather(entry, f"{prefix}{entry.name}/")
            elif (kind := _TYPES.get(entry.name[entry.name.rfind(".") :])) is not None:
                found[prefix + entry.name] = (entry.read_bytes(), kind)

    gather(resources.files("thor_ray.dashboard") / "static", "")
    return found


class Guard:
    """Refuses whom ``access`` refuses, takes the token out of the address, and puts security headers on every reply."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; anything but HTTP (lifespan) passes through, except WebSockets, which there are none of."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._sign_in(scope) or _refused(self._access.refusal(headers))
        if answer is None and scope["method"] not in ("GET", "HEAD"):
            answer = PlainTextResponse("this page only reads", 405)
        await (answer or self._app)(scope, receive, guarded_send)

    def _sign_in(self, scope: Scope) -> Response | None:
        """Turns ``/?token=…`` into a cookie, so that the token neither stays in the address nor goes into links."""
        if scope["path"] != "/" or self._access.token is None:
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        offers = query.pop("token", [])
        if not any(self._access.admits(offer) for offer in offers):
            return None
        answer = RedirectResponse("/" + ("?" + urlencode(query, doseq=True) if query else ""), 303)
        answer.set_cookie(self._access.cookie, self._access.token or "", httponly=True, samesite="strict", path="/")
        return answer


def _refused(refusal: Refusal | None) -> Response | None:
    return None if refusal is None else PlainTextResponse(refusal.message + "\n", refusal.code)


def _say(request: Request, error: Exception) -> Response:
    code = 404 if isinstance(error, NotRecordedError) else 409
    return JSONResponse({"error": printable(str(error))}, code)


def _add_page(app: FastAPI) -> None:
    files = packaged_files()

    @app.get("/{path:path}")
    def static_file(path: str) -> Response:
        content, kind = files.get(path or "index.html", (None, ""))
        if content is None:
            return PlainTextResponse("there is nothing here\n", 404)
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


def _add_runs(app: FastAPI, catalogue: Catalogue) -> None:
    @app.get("/api/runs")
    def runs() -> Response:
        return _json(catalogue.statuses())

    @app.get("/api/status")
    def status(run: Words) -> Response:
        return _json(catalogue.view(run).status() | {"name": run})

    @app.get("/api/overview")
    def overview(run: Words) -> Response:
        return _json(catalogue.view(run).overview() | {"name": run})

    @app.get("/api/metrics")
    def metrics(run: Words) -> Response:
        return _json(catalogue.view(run).series())

    @app.get("/api/fleet")
    def fleet(run: Words) -> Response:
        return _json(catalogue.view(run).fleet() | {"name": run})

    @app.get("/api/tirgen")
    def tirgen(
        run: Words,
        problem_id: Words = "",
        kept: bool | None = None,
        rule: Words = "",
        verdict: Words = "",
        agreement: Words = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    ) -> Response:
        wanted = Wanted(problem_id or None, kept, rule or None, verdict or None, agreement or None)
        return _json(candidates_object(catalogue.view(run).candidates, wanted, offset, limit))

    @app.get("/api/timing")
    def timing(run: Words, stage: Words = "") -> Response:
        snapshot = catalogue.view(run).index.snapshot()
        mask = matching(snapshot, RolloutQuery(equal=(("stage", stage),) if stage else ()))
        slowest = RolloutQuery(order=Order.SECONDS, limit=20)
        return _json(
            timing_object(snapshot, mask)
            | {"slowest": _listed(page(snapshot, mask, slowest)), "stages": snapshot.stages}
        )


def _add_trajectories(app: FastAPI, catalogue: Catalogue) -> None:
    @app.get("/api/rollouts")
    def rollouts(
        run: Words,
        stage: Words = "",
        group_uid: Words = "",
        problem_id: Words = "",
        parent_id: Words = "",
        round: Annotated[int | None, Query()] = None,  # noqa: A002 - the field's name in the records
        status: Annotated[list[Status] | None, Query()] = None,
        q: Words = "",
        order: Order = Order.WRITTEN,
        ascending: bool = False,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    ) -> Response:
        given = (stage, round, group_uid, problem_id, parent_id)
        equal = tuple(
            (name, value) for name, value in zip(_EQUAL_COLUMNS, given, strict=True) if value not in ("", None)
        )
        query = RolloutQuery(tuple(status or ()), equal, q.strip(), order, not ascending, offset, limit)
        view = catalogue.view(run)
        return _json(_rollouts(view, view.index.snapshot(), query))

    @app.get("/api/trajectory")
    def trajectory(run: Words, id: Words) -> Response:  # noqa: A002 - the page's word for it
        view = catalogue.view(run)
        snapshot = view.index.snapshot()
        record = one_record(snapshot, id)
        siblings = labelled(rows_where(snapshot, "group_uid", record.group_uid))
        branches = len(rows_where(snapshot, "parent_id", id))
        statuses = next(row["statuses"] for row in siblings if row["trajectory_id"] == id)
        extra = {"siblings": siblings, "branches": branches, "statuses": statuses}
        return _json(trajectory_object(record, view.decoder()) | extra)

    @app.get("/api/tokens")
    def tokens(run: Words, id: Words) -> Response:  # noqa: A002
        view = catalogue.view(run)
        return _json(tokens_object(one_record(view.index.snapshot(), id), view.decoder()))

    @app.get("/api/group")
    def group(run: Words, uid: Words) -> Response:
        view = catalogue.view(run)
        return _json(group_object(view.index.snapshot(), uid, view.decoder()))

    @app.get("/api/tree")
    def tree(run: Words, id: Words) -> Response:  # noqa: A002
        view = catalogue.view(run)
        return _json(tree_object(view.index.snapshot(), id, view.decoder()))


def _rollouts(view: RunView, snapshot: Snapshot, query: RolloutQuery) -> dict[str, Any]:
    """One page, the number of all hits, and for each status how many rows it would leave of the others' hits."""
    scope = matching(snapshot, query)
    if query.text:
        scope = view.search.matches(snapshot, query.text, scope)
    else:
        view.search.warm(snapshot)
    mask = scope & statuses_hold(snapshot, query.statuses)
    return {
        "total": int(mask.sum()),
        "recorded": len(snapshot.table),
        "counts": counts(snapshot, mask),
        "stages": snapshot.stages,
        "rows": _listed(page(snapshot, mask, query)),
    }


def _listed(rows: Any) -> list[dict[str, Any]]:
    """Rows for a table: labelled, and answers made harmless to look at."""
    objects = labelled(rows)
    for row in objects:
        row |= {name: row[name] and printable(row[name]) for name in ("answer", "gold_answer")}
    return objects


def _json(content: Any) -> Response:
    return JSONResponse(content, headers={"Cache-Control": "no-store"})
