"""How `make demo` starts, without its page."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from demo.__main__ import main


class Elsewhere(BaseHTTPRequestHandler):
    """A web server that is not the service."""

    status, body = 404, b"<html>Not here</html>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Welcoming(Elsewhere):
    """One that answers every path with a page."""

    status, body = 200, b"<html>Welcome</html>"


class OtherApi(Elsewhere):
    """One that speaks JSON, of another kind."""

    status, body = 200, b'{"status": "fine"}'


@pytest.mark.parametrize("kind", [Elsewhere, Welcoming, OtherApi])
def test_where_another_server_answers_it_says_so_in_a_line(
    kind: type[Elsewhere], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("LESION_CLIENT_URL", address)
    monkeypatch.setattr("demo.__main__.command", lambda: ["false"])  # no page is started
    try:
        assert main() == 2
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    said = capsys.readouterr().err
    assert said.startswith(f"{address}/readyz ")
    assert "LESION_CLIENT_URL" in said
    assert said.count("\n") == 1
