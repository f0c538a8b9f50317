"""A network of its own with a link that loses packets. A program: started by `tunnel` inside `unshare -Urn`.

Two namespaces joined by a veth pair, each dropping a share of what arrives. In the far one (where this runs)
it listens, and hands the listening sockets to whoever started it; what in the near one connects to these
ports on 127.0.0.1 is led over the pair. Ends, with all of it, when its socket is closed. Imports nothing of
ours.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time

FAR, NEAR = "10.9.0.2", "10.9.0.1"
_MTU_BYTES = 576
"""Of a modem, so that there are packets enough to lose."""
_UNJOINED = ("gso_max_segs", "1")
"""Else the kernel hands over dozens of segments as one packet, which is lost or comes as a whole."""
_PATIENCE_S = 10.0
_LOOK_S = 0.01
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_DROP = """
table inet loss {{
  chain arriving {{
    type filter hook input priority 0;
    iifname "{link}" counter
    iifname "{link}" numgen random mod 100 < {percent} counter drop
  }}
}}
"""
_LEAD = """
table ip lead {{
  chain leaving {{
    type nat hook output priority -100;
    ip daddr 127.0.0.1 tcp dport {{ {ports} }} dnat to {far}
  }}
  chain left {{
    type nat hook postrouting priority 100;
    ip daddr {far} snat to {near}
  }}
}}
"""


def main(descriptor: int, percent: int, ports: list[int]) -> None:
    """Build it, hand it over, answer questions for its counters until the other side hangs up."""
    os.environ["PATH"] = _PATH
    control = socket.socket(fileno=descriptor)
    near = subprocess.Popen(["unshare", "-n", "--", "sleep", "infinity"])
    try:
        _build(near.pid, percent, ports)
        listening = [_listen(port) for port in ports]
        socket.send_fds(control, [str(near.pid).encode()], [one.fileno() for one in listening])
        while control.recv(1):
            counted = [_counted(()), _counted(_inside(near.pid))]
            control.sendall(json.dumps([sum(pair) for pair in zip(*counted, strict=True)]).encode() + b"\n")
    finally:
        near.kill()
        near.wait()


def _build(near: int, percent: int, ports: list[int]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while _namespace(near) == _namespace(os.getpid()):
        if time.monotonic() > deadline:
            raise TimeoutError("the second namespace did not come to be")
        time.sleep(_LOOK_S)
    inside = _inside(near)
    _run("ip", "link", "add", "far", "type", "veth", "peer", "name", "near", "netns", str(near))
    for prefix, link, address in (((), "far", FAR), (inside, "near", NEAR)):
        _run(*prefix, "ip", "link", "set", "lo", "up")
        _run(*prefix, "ip", "addr", "add", f"{address}/30", "dev", link)
        _run(*prefix, "ip", "link", "set", link, "mtu", str(_MTU_BYTES), *_UNJOINED, "up")
        _run(*prefix, "nft", "-f", "-", text=_DROP.format(link=link, percent=percent))
    _run(*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
    lead = _LEAD.format(ports=", ".join(map(str, ports)), far=FAR, near=NEAR)
    _run(*inside, "nft", "-f", "-", text=lead)


def _inside(pid: int) -> tuple[str, ...]:
    return ("nsenter", "-t", str(pid), "-n")


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((FAR, port))
    listener.listen(64)
    return listener


def _counted(prefix: tuple[str, ...]) -> list[int]:
    """Packets that arrived at one end, and those of them that were dropped."""
    rules = _run(*prefix, "nft", "list", "table", "inet", "loss")
    return [int(found) for found in re.findall(r"counter packets (\d+)", rules)]


def _run(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
