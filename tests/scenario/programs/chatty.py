"""Prints LINES numbered lines (on both outputs, alternating) as fast as it can, then "done", and
stays; a line takes LINE_BYTES bytes. Listens nowhere. Writes the seconds that printing took to the
file that its first argument names, so that a scenario sees that nothing blocked it."""

import os
import sys
import time

lines = int(os.environ.get("LINES", "1000"))
filler = "x" * (int(os.environ.get("LINE_BYTES", "40")) - 12)
started = time.monotonic()
for number in range(lines):
    out = sys.stderr if number % 2 else sys.stdout
    out.write(f"line {number:06} {filler}\n")
    out.flush()
print("done", flush=True)
if len(sys.argv) > 1:
    with open(sys.argv[1], "w") as file:
        file.write(f"{time.monotonic() - started:.3f}\n")
time.sleep(3600)
