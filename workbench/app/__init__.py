"""Open pages in the browser: watch runs and sweeps, and try finished models on photos.

The pages are in `pages/`, what they are made of in `elements/`. The other files read runs, photos and models; of them
only `server.py` imports NiceGUI.
"""

from workbench.commands import AppConfig


def open_pages(config: AppConfig) -> None:
    """Serve the pages until Ctrl-C.

    Raises:
        UserError: the port is in use, or a folder does not exist.
    """
    # Imported late, so that the files that read runs can be imported without NiceGUI.
    from workbench.app.server import serve

    serve(config)
