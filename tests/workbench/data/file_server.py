"""A local web server of one file that misbehaves on request."""

import contextlib
import hashlib
import http.server
import threading


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `data`; each request is answered as the next of `moods` says, and correctly when none is left.

    Moods: `break N` sends N bytes and closes; `hang N` sends N bytes and then nothing; `long` and `short` lie about
    the length; `ignore range` sends the whole file whatever was asked; `wrong part` answers with a part that was not
    asked for; `other file` sends the asked part of a file that has changed; `status N` answers with a bare status;
    `garbage` is no HTTP at all.
    """

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.moods, self.ranges, self.sent = data, [], [], 0
        self.headers, self.over = {}, threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/images.zip"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        mood, _, number = (server.moods.pop(0) if server.moods else "well").partition(" ")
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        tag = f'"{hashlib.md5(server.data).hexdigest()}"'
        start = int(asked[len("bytes=") : -1]) if asked and self.headers.get("If-Range") == tag else 0
        if mood == "garbage":
            self.wfile.write(b"no such protocol\r\n\r\n")
            return
        if mood == "status":
            self.send_error(int(number))
            return
        if start > len(server.data) or (start and start == len(server.data)):
            self.send_error(416)
            return
        if mood == "ignore":
            start = 0
        self._send(mood, start, tag, int(number) if mood in ("break", "hang") else None)

    def _send(self, mood, start, tag, limit):
        server = self.server
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"another"' if mood == "other" else tag)
        if start:
            first = start + 1 if mood == "wrong" else start
            self.send_header("Content-Range", f"bytes {first}-{len(server.data) - 1}/{len(server.data)}")
        lie = {"long": 1000, "short": -1000}.get(mood, 0)
        self.send_header("Content-Length", str(len(body) + lie))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[:limit])
        if mood == "hang":
            server.over.wait(30)
        server.sent += len(body[:limit])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(data):
    """A running `FileServer`."""
    with FileServer(data) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
