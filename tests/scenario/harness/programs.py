"""The server programs of the scenarios, in a folder that every account may read; those that need a
compiler are built once."""

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "programs"
PYTHON = "/usr/bin/python3"
BUILT = {"prefork": "prefork.c", "echo_udp": "echo_udp.c", "web_go": "web.go"}


class Programs:
    def __init__(self, folder):
        self.folder = Path(folder)
        shutil.copytree(SOURCES, self.folder, dirs_exist_ok=True)
        self.folder.chmod(0o755)

    def python(self, name):
        """The command line of a Python program, as it stands in a configuration."""
        return f"{PYTHON} -u {self.folder / name}.py"

    def path(self, name):
        return str(self.folder / name)

    def built(self, name):
        """The path of a compiled program."""
        target = self.folder / name
        if not target.exists():
            source = self.folder / BUILT[name]
            temporary = target.with_suffix(".new")
            if source.suffix == ".go":
                environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod",
                               "GO111MODULE": "off", "GOCACHE": go_cache()}
                command = ["go", "build", "-o", str(temporary), str(source)]
                subprocess.run(command, check=True, env=environment, cwd=self.folder)
            else:
                subprocess.run(["gcc", "-O1", "-o", str(temporary), str(source)], check=True)
            temporary.rename(target)
        return str(target)


def go_cache():
    """Kept over test runs: without it each run compiles Go's own library anew."""
    return str(Path(__file__).resolve().parents[3] / "build" / "go-cache")
