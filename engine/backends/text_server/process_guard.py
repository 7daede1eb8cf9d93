"""Run a server that must not outlive whoever wants it: process_guard.py SOCKET PROGRAM WORDS...

Whoever wants it holds this program's input, which closes with them even when they are killed. Then the
server is told to end, and soon killed with all that it has started (vLLM's engine is a process too).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 5.0


def main() -> int:
    socket = Path(sys.argv[1])
    socket.unlink(missing_ok=True)  # of one that was killed
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, process_group=0)

    def end_with_input() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would be held when this program ends
        server.terminate()
        time.sleep(GRACE_SECONDS)
        server.kill()

    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    threading.Thread(target=end_with_input, daemon=True).start()
    code = server.wait()
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of an empty group
        os.killpg(server.pid, signal.SIGKILL)
    socket.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
