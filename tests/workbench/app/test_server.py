import socket

import pytest

from tests.fresh_calls import call_fresh
from workbench import commands
from workbench.commands import AppConfig, check_app
from workbench.errors import UserError


def test_missing_libraries_are_named_in_one_line(monkeypatch):
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need nicegui and plotly; pip install nicegui plotly"):
        check_app(AppConfig())


def test_help_imports_neither_nicegui_nor_tensorflow():
    (call,) = call_fresh([("workbench.app", "--help")])
    assert (call.code, call.imported) == (0, [])
    assert "usage: python -m workbench.app [--config FILE]" in call.output
    assert "--host" in call.output


def test_an_address_that_cannot_be_used_is_refused(tmp_path):
    pytest.importorskip("nicegui")
    from workbench.app.server import serve

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="choose another --port"):
            serve(AppConfig(port=other.getsockname()[1], show=False))
    with pytest.raises(UserError, match="--port 0: must be between"):
        serve(AppConfig(port=0))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        serve(AppConfig(runs_dir=str(tmp_path / "file")))
