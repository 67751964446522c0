# SPDX-License-Identifier: Apache-2.0
"""terminal.py TEXT COMMAND...: run a command on a terminal of its own, type TEXT when it has shown a prompt, print what
it showed, end with its status."""
import os
import pty
import re
import select
import sys
import time

LIMIT_S = 60

text, command = sys.argv[1].encode().decode("unicode_escape").encode(), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown, typed, end = b"", False, time.monotonic() + LIMIT_S
while time.monotonic() < end:
    if select.select([terminal], [], [], 0.5)[0]:
        try:
            some = os.read(terminal, 65536)
        except OSError:
            break
        if not some:
            break
        shown += some
        if not typed and re.search(rb"[#$] (\x1b\[6n)?$", shown):
            os.write(terminal, text)
            typed = True
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
