"""The server of the pages: its addresses, and how it is started."""

import asyncio
import socket
import sys
import uuid
from pathlib import Path

from nicegui import app, ui
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from workbench.app.images.figures import read_figure
from workbench.app.images.photos import SIZES
from workbench.app.images.uploads import MAX_BYTES, Uploads
from workbench.app.pages import compare, data, labels, runs, sweep, try_photos
from workbench.app.pages import run as run_page
from workbench.app.security import LOOPBACK, Guard
from workbench.app.state import AppState, make_state
from workbench.commands import AppConfig
from workbench.console import console
from workbench.errors import UserError

_CACHED = {"Cache-Control": "private, max-age=300"}


def serve(config: AppConfig) -> None:
    """Serve the pages until Ctrl-C.

    Raises:
        UserError: the port is in use, or a folder does not exist.
    """
    if not 0 < config.port < 65536:
        raise UserError(f"--port {config.port}: must be between 1 and 65535")
    runs_dir = Path(config.runs_dir)
    if runs_dir.exists() and not runs_dir.is_dir():
        raise UserError(f"--runs-dir {config.runs_dir}: is a file; give the folder of the runs")
    _check_port(config.host, config.port)
    add_pages(make_state(runs_dir, tuple(config.data)), host=config.host)
    if config.host not in LOOPBACK:
        print(
            f"warning: --host {config.host} lets everyone who reaches this machine see your runs and photos, stop "
            "and continue sweeps, and change decisions on labels; there is no password",
            file=sys.stderr,
        )
    host = f"[{config.host}]" if ":" in config.host else config.host
    console.print(f"pages of {runs_dir}: http://{host}:{config.port}   (Ctrl-C ends them)")
    ui.run(
        host=config.host,
        port=config.port,
        title="image-workbench",
        language="en-US",
        favicon="🔬",
        reload=False,
        show=config.show,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=60,  # a browser next to a sweep that uses all cores may be slow to answer
    )


def add_pages(state: AppState, *, host: str = LOOPBACK[0]) -> None:
    """Add all addresses to NiceGUI's application.

    Args:
        state: what the pages show.
        host: see `workbench.app.security.Guard`.
    """
    uploads = Uploads()
    runs.add_page(state)
    sweep.add_page(state)
    run_page.add_page(state)
    compare.add_page(state)
    try_photos.add_page(state, uploads)
    data.add_page(state)
    labels.add_page(state)
    app.add_middleware(Guard, host=host)

    @app.get("/photo")
    async def get_photo(data: str, name: str, size: int = SIZES[0]) -> Response:
        if size not in SIZES:
            return Response("no such size", 404)
        if not await asyncio.to_thread(state.has_data, data):
            return Response("no such data", 404)
        try:
            content = await asyncio.to_thread(state.photos.read_thumbnail, data, name, size)
        except UserError as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(content, media_type="image/jpeg", headers=_CACHED)

    @app.get("/figure/{name}/{figure:path}")
    async def get_figure(name: str, figure: str, part: int | None = None) -> Response:
        entry = await asyncio.to_thread(state.catalogue.find, name)
        if entry is None:
            return Response("no such run", 404)
        try:
            content = await asyncio.to_thread(read_figure, entry.path, figure, part)
        except UserError as error:
            return Response(str(error), 404, media_type="text/plain")
        return Response(content, media_type="image/png", headers=_CACHED)

    @app.post("/upload")
    async def add_upload(request: Request) -> Response:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MAX_BYTES:
                return JSONResponse({"error": f"larger than {MAX_BYTES // 1_000_000} MB"}, 413)
        key = uuid.uuid4().hex
        uploads.add(key, bytes(content))
        return JSONResponse({"key": key})


def _check_port(host: str, port: int) -> None:
    """Refuse an address at which nothing can listen.

    Raises:
        UserError: says why.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}; choose another --port") from error
