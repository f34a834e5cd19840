"""The account of a torture: what was done when, which failures that explains, and which nothing does."""

import collections
import contextlib
import dataclasses
import time

from harness import processes

from flows import WrongBytes

SETTLE = 0.5  # for so long after an action what begins may still meet what it broke
WINDOW = 6.0  # a failure that an action explains has come by then; a datagram's takes UDP_TIMEOUT


@dataclasses.dataclass
class Excuse:
    """Failures on these paths, of what was under way between these times, are explained by `action`."""
    action: str
    paths: tuple
    begin: float
    end: float
    pid: int = None  # of the program that was killed: it explains nothing that another one answered
    refused: bool = False  # does it explain refused connections?

    def explains(self, failure):
        if isinstance(failure.error, WrongBytes) or failure.path not in self.paths:
            return False
        if isinstance(failure.error, ConnectionRefusedError) and not self.refused:
            return False
        # A connection on the direct path or through a relay belongs to one program for its whole life.
        if self.pid and failure.pid not in (None, self.pid) and not failure.path.endswith("/http"):
            return False
        return (failure.began <= self.end + SETTLE
                and self.begin <= failure.ended <= self.end + WINDOW)


def symptom(error):
    """In a word, what the client saw."""
    if isinstance(error, WrongBytes):
        return "wrong bytes"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    status = str(error)[:3]
    return status if status.isdigit() else "cut"


class Account:
    def __init__(self, name, flows):
        self.name, self.flows = name, flows
        self.excuses, self.log = [], []

    # ---- what is done ----

    def run(self, action):
        """Does it, and notes when; its name is without its do_."""
        entry = [time.monotonic(), float("inf"), action.__name__[3:], ""]
        self.log.append(entry)
        entry[3] = action() or ""
        entry[1] = time.monotonic()

    @contextlib.contextmanager
    def excuse(self, action, paths, **more):
        made = Excuse(action, tuple(paths), time.monotonic(), float("inf"), **more)
        self.excuses.append(made)
        try:
            yield made
        finally:
            made.end = time.monotonic()

    # ---- who asks ----

    def __enter__(self):
        self.clients = contextlib.ExitStack()
        for flow in self.flows:
            self.clients.enter_context(flow)
        return self

    def __exit__(self, *_):
        for flow in self.flows:  # all at once, and not one after the other
            flow.ending.set()
        self.clients.close()

    def served(self, within=30):
        """Until each kind of client on each path got an answer to something that it asks from now on."""
        before = [flow.done.copy() for flow in self.flows]

        def missing():
            return [f"{flow.path} {kind}" for flow, done in zip(self.flows, before) for kind in flow.kinds
                    if flow.done[kind] <= done[kind] + 1]

        def all_served():
            assert not missing(), f"{missing()} had no answer"
            return True
        processes.wait_for(all_served, within, "every client to be served")

    # ---- the account ----

    def failures(self):
        return [failure for flow in self.flows for failure in flow.failed]

    def explain(self):
        for failure in self.failures():
            for excuse in self.excuses:
                if excuse.explains(failure):
                    failure.action = excuse.action

    def unexplained(self):
        self.explain()
        return [failure for failure in self.failures() if failure.action is None]

    def near(self, when):
        """The last actions that began before it."""
        return [f"{name} {said} {when - began:.2f} s before"
                for began, _, name, said in self.log if began <= when][-2:]

    def problems(self):
        found = [f"{failure} near {self.near(failure.ended)}" for failure in self.unexplained()]
        return found + [f"a client of {flow.path} has not ended" for flow in self.flows if not flow.ended()]

    def table(self):
        """A line of docs/reliability.md: what was asked, and how much of it failed for which reason."""
        failures = self.failures()
        sent = sum(sum(flow.done.values()) for flow in self.flows) + len(failures)
        why = collections.Counter(failure.action or f"{symptom(failure.error)}, {self.blame(failure)}"
                                  for failure in failures)
        each = "\n".join(f"    {count} {reason}" for reason, count in why.most_common())
        return f"| {self.name} | {len(self.log)} | {sent:,} | {len(failures):,} | {len(self.unexplained()):,} |\n{each}"

    def blame(self, failure):
        """The action that was under way, or the last before."""
        before = [name for began, _, name, _ in self.log if began <= failure.ended]
        return before[-1] if before else "the start"

    def report(self):
        self.explain()
        counts = collections.Counter(name for _, _, name, _ in self.log)
        lines = [f"{self.name}: {len(self.log)} actions: "
                 + " ".join(f"{name}={count}" for name, count in sorted(counts.items()))]
        for flow in self.flows:
            answered, failed = sum(flow.done.values()), len(flow.failed)
            why = collections.Counter(failure.action or "UNEXPLAINED" for failure in flow.failed)
            lines.append(f"  {flow.path}: sent {answered + failed} answered {answered} ({flow.told()}) "
                         f"failed {failed} {dict(why) or ''}, slowest {flow.slowest:.1f} s")
        failures = self.failures()
        why = collections.Counter(failure.action or "UNEXPLAINED" for failure in failures)
        sent = sum(sum(flow.done.values()) for flow in self.flows) + len(failures)
        began = self.log[0][0] if self.log else 0
        lines += [f"  {begin - began:8.2f} {end - begin:6.2f} s {name} {said}" for begin, end, name, said in self.log]
        for failure in self.unexplained()[:20]:
            lines.append(f"  unexplained: {failure} near {self.near(failure.ended)}")
        lines.append(f"  in all: sent {sent}, failed {len(failures)} {dict(why)}")
        return "\n".join(lines)
