"""The shop's own system, which knows nothing of agents: orders over HTTP, the handbook over MCP.

It stands for services of somebody else. The tool host starts it as an MCP server (`tools.yaml`) and ends
it; while it runs it also answers `GET /orders/NUMBER` on this machine, as `orders.json` describes it.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

ORDERS = {
    "1042": {
        "number": "1042",
        "item": "burr grinder",
        "price": "189.00",
        "customer": "Ada Berg",
        "email": "ada.berg@example.org",
        "ordered": "2026-11-16",
        "delivered": "",
        "scans": (
            "2026-11-19 08:12 sorted in Lyon\n2026-11-23 17:40 held at customs in Basel\n"
            "2026-11-18 19:05 handed to the carrier\n"
        ),
    },
    "1055": {
        "number": "1055",
        "item": "espresso cups",
        "price": "36.00",
        "customer": "Ben Okafor",
        "email": "ben@example.net",
        "ordered": "2026-10-29",
        "delivered": "2026-11-05",
        "scans": "2026-11-05 10:21 delivered to a neighbour\n2026-11-03 07:50 sorted in Lyon\n",
    },
}


class Orders(BaseHTTPRequestHandler):
    """`GET /orders/NUMBER`."""

    def do_GET(self) -> None:
        found = re.fullmatch(r"/orders/(\d+)", self.path)
        order = ORDERS.get(found[1]) if found else None
        body = json.dumps(order or {"error": "there is no such order"}).encode()
        self.send_response(200 if order else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Standard output is the MCP client's."""


handbook = MCPServer("shop", log_level="ERROR")


@handbook.tool(annotations=ToolAnnotations(read_only_hint=True))
def search_handbook(question: str) -> list[str]:
    """Passages of the shop's handbook that share words with a question, the best first, two at most."""
    asked = _words(question)
    text = Path(__file__).with_name("handbook.md").read_text(encoding="utf-8")
    passages = [" ".join(part.split()) for part in text.split("\n\n") if not part.startswith("#")]
    fitting = [passage for passage in passages if asked & _words(passage)]
    return sorted(fitting, key=lambda passage: -len(asked & _words(passage)))[:2]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]))
    try:
        orders = ThreadingHTTPServer(address, Orders)
    except OSError as exc:
        sys.exit(f"nothing can listen on port {address[1]} of this machine: {exc}")
    threading.Thread(target=orders.serve_forever, daemon=True).start()
    handbook.run()
