"""Ends at once, with last words and exit code 3."""

import sys

print("reading settings", flush=True)
print("fatal: no licence file", file=sys.stderr, flush=True)
sys.exit(3)
