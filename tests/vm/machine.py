"""The virtual machine of `make vm` and `make systemd-test`: Debian 12's own kernel, an initramfs, QEMU.

The kernel is the newest linux-image-6.1.0-N-cloud-amd64-unsigned that apt knows, unpacked into
build/vm and kept there. What runs in the machine says in TAP on the serial line what it found. Nothing is
emulated for speed: QEMU translates (TCG), so /dev/kvm is not needed.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VM = ROOT / "build" / "vm"
KERNEL = r"linux-image-6\.1\.0-([0-9]+)-cloud-amd64-unsigned"


def run(*arguments, **options):
    done = subprocess.run([str(argument) for argument in arguments], text=True,
                          capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}"
                 f"{done.stderr}")
    return done.stdout


def kernel_newest():
    """The newest kernel package that apt knows, or None."""
    names = re.findall(KERNEL, run("apt-cache", "search", "--names-only", f"^{KERNEL}$"))
    return f"linux-image-6.1.0-{max(map(int, names))}-cloud-amd64-unsigned" if names else None


def kernel_get():
    """The folder with the unpacked kernel: the one that is there, else a newly downloaded one."""
    for folder in sorted(VM.glob("linux-image-*/boot")):
        return folder.parent
    name = kernel_newest()
    if name is None:
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        run(*sudo, "apt-get", "update", "-q")
        name = kernel_newest()
    if name is None:
        sys.exit("apt knows no linux-image-6.1.0-N-cloud-amd64-unsigned: are the package sources "
                 "those of Debian 12?")
    print(f"Downloading {name}", flush=True)
    run("apt-get", "download", "-q", name, cwd=VM)
    package, = VM.glob(f"{name}_*.deb")
    unpacked = VM / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    run("dpkg-deb", "-x", package, unpacked)
    package.unlink()
    return unpacked.rename(VM / name)


class Image:
    """The guest's file system, made as a folder and packed by cpio."""

    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        for name in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run",
                     "tmp", "etc", "test", "root"]:
            (folder / name).mkdir(parents=True)
        for name in ["bin", "sbin", "lib", "lib64"]:
            (folder / name).symlink_to(f"usr/{name}")
        self.put("/usr/bin/busybox", "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox")
                 else "/bin/busybox")
        for applet in run("busybox", "--list").split():
            path = folder / "usr/bin" / applet
            if not path.exists():
                path.symlink_to("busybox")
        self.put_program("/usr/bin/sh", "/bin/dash")  # that of busybox prefers its own applets
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                                  "nobody:x:65534:65534:nobody:/tmp:/bin/sh\n")
        self.write("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self.write("/etc/hosts", "127.0.0.1 localhost\n")

    def write(self, path, text):
        (self.folder / path[1:]).write_text(text)

    def put(self, path, source):
        target = self.folder / path[1:]
        target.unlink(missing_ok=True)  # an applet of that name
        shutil.copy(source, target)

    def put_program(self, path, source):
        self.put(path, source)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            target = self.folder / library[1:]
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, target)

    def pack(self, path):
        names = "\n".join(str(name.relative_to(self.folder))
                          for name in sorted(self.folder.rglob("*")))
        archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
                                 input=names.encode(), cwd=self.folder, capture_output=True,
                                 check=True).stdout
        path.write_bytes(gzip.compress(archive, 1))


def boot(kernel, initrd, console, memory_mib, seconds_max, disk=None):
    """Runs the machine until it reboots; what it wrote. The disk, for which a microvm has no place that this kernel
    finds, is as before after it. With a disk, which is for long runs, two nanoseconds pass in the machine with each
    instruction: however busy the host is, nothing in it times out that would not elsewhere."""
    image, = kernel.glob("boot/vmlinuz-*")
    arguments = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max",
                 "-M", "q35" if disk else "microvm,acpi=off,rtc=on,isa-serial=on", "-nodefaults",
                 "-serial", f"file:{console}", "-display", "none", "-m", str(memory_mib),
                 "-smp", "1", "-no-reboot", "-kernel", image, "-initrd", initrd,
                 "-append", "console=ttyS0 panic=-1 psi=1 nokaslr quiet mitigations=off "
                            "tsc=reliable reboot=t"]
    if disk:
        arguments += ["-icount", "shift=1", "-device", "virtio-blk-pci,drive=disk",
                      "-drive", f"id=disk,file={disk},format=raw,if=none,snapshot=on"]
    try:
        subprocess.run(arguments, stdin=subprocess.DEVNULL, timeout=seconds_max)
    except subprocess.TimeoutExpired:
        print(f"The machine was stopped after {seconds_max} s.")
    return console.read_text(errors="replace").replace("\r", "")


def judge(text):
    """Prints the failures; the numbers of what passed and what failed. A machine that did not come to
    its end, or a suite that ended badly or was skipped, counts as a failure too."""
    passed = failed = 0
    said = []
    for line in text.splitlines():
        said.append(line)
        if re.match(r"not ok |# suite \S+ ended [^0]|1\.\.0", line):
            failed += 1
            print("\n".join(said[-20:]))
        elif re.match(r"ok ", line):
            passed += 1
        if line.startswith("# suite "):
            said = [line]
        elif line.startswith(("# kernel", "# figure")):
            print(line[2:])
    if "# all suites ran" not in text:
        failed += 1
        print("\n".join(said[-40:]), "\nThe machine did not come to its end.")
    return passed, failed
