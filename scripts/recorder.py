"""A proxy before a seller's front door that writes down what buyers ask it and are answered: a line a tool's call.

Each line is {"tool", "request", "answer", "is_error"}, as tests/programs/check_messages.py reads it.
"""

import http.client
import http.server
import json
import threading
import urllib.parse

# Longer than any answer takes.
PATIENCE = 330
# Of one connection, not of a message.
OF_A_CONNECTION = {"connection", "keep-alive", "te", "transfer-encoding"}


class Recorder(http.server.ThreadingHTTPServer):
    """Serves until the process ends; `url` stands for the seller's."""

    daemon_threads = True

    def __init__(self, seller, file):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seller = urllib.parse.urlsplit(seller)
        self.url = self.seller._replace(netloc=f"127.0.0.1:{self.server_port}").geturl()
        self.file = open(file, "w", encoding="utf-8")
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def note(self, asked, status, told):
        call = tool_call(asked, status, told)
        if call:
            with self.lock:
                self.file.write(json.dumps(call) + "\n")
                self.file.flush()


class Handler(http.server.BaseHTTPRequestHandler):
    def pass_on(self):
        asked = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_A_CONNECTION | {"host"}}
        seller = http.client.HTTPConnection(self.server.seller.hostname, self.server.seller.port, timeout=PATIENCE)
        try:
            seller.request(self.command, self.path, asked, headers)
            answer = seller.getresponse()
            told = answer.read()
        finally:
            seller.close()
        # Before the buyer goes on.
        self.server.note(asked, answer.status, told)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in OF_A_CONNECTION | {"content-length"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_DELETE = do_GET = do_POST = pass_on

    def log_message(self, *_):
        pass


def tool_call(asked, status, told):
    """None: no call of a tool, or one that the transport refused."""
    try:
        asked = json.loads(asked)
    except ValueError:
        return None
    if not isinstance(asked, dict) or asked.get("method") != "tools/call" or status != 200:
        return None
    told = json.loads(told)
    if "error" in told:
        return None
    params, result = asked["params"], told["result"]
    return {
        "tool": params["name"],
        "request": params.get("arguments") or {},
        "answer": result.get("structuredContent"),
        "is_error": result.get("isError") is True,
    }
