"""A real server whose speed is known: listens on the port in the environment."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_S = 0.05
BUSY_S = 0.02
"""Of that on the processor: twice what the system counts in."""
PNG = b"\x89PNG\r\n\x1a\n..."


class OneAtATime(BaseHTTPRequestHandler):
    """Answers with a PNG's first bytes after `SLOW_S`, one request after the other."""

    protocol_version = "HTTP/1.1"
    turn = threading.Lock()
    answer, status, wants_form = PNG, 200, True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.status if (b'name="image"' in body) == self.wants_form else 415
        with self.turn:
            began = time.thread_time()
            while time.thread_time() - began < BUSY_S:
                pass
            time.sleep(SLOW_S - BUSY_S)
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.answer)))
        self.send_header("X-Backend", "sleep")
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), OneAtATime).serve_forever()
