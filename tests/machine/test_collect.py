"""doctor on this machine, with every program on PATH broken in turn; and the readers of Linux' files."""

import os
import stat
from pathlib import Path

import pytest

from onecard.machine import collect as collecting
from onecard.machine import disks, linux, packages
from onecard.machine.collect import collect
from onecard.machine.facts import decode, encode
from onecard.machine.rules import diagnose

PROGRAMS = ("dmesg", "journalctl", "rocm-smi", "nvidia-smi", "sysctl", "system_profiler", "nvcc", "docker", "mokutil")


def test_this_machine_is_described_and_survives_json():
    facts = collect()
    assert facts.processors >= 1 and facts.memory_total > 0 and facts.python.version.startswith("3.")
    assert facts.packages["msgspec" if "msgspec" in packages.NAMES else "numpy"] if facts.torch else True
    assert facts.disks["hub"].free is not None
    assert decode(encode(facts)) == facts


def test_torch_is_read_as_text_and_not_imported():
    import subprocess
    import sys

    code = "from onecard.machine.collect import collect; import sys; f = collect(); print('torch' in sys.modules, f.torch is not None)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split()[0] == "False"


@pytest.mark.skipif(os.name != "posix", reason="shell scripts")
@pytest.mark.parametrize(
    "script",
    ["exec sleep 600", "while :; do head -c 4096 /dev/urandom; done", "echo nonsense; exit 1", "echo 'Xid: garbage'"],
)
def test_doctor_survives_programs_that_hang_babble_or_fail(tmp_path, monkeypatch, script):
    for name in PROGRAMS:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    facts = collect()
    assert facts.memory_total > 0
    assert not [f for f in diagnose(facts) if f.title.startswith("the check")]


def test_a_question_that_fails_costs_only_its_own_answer(monkeypatch):
    def broken(*_):
        raise OSError("disk on fire")

    monkeypatch.setattr(collecting.packages, "versions", broken)
    monkeypatch.setattr(collecting, "processor", broken)
    monkeypatch.setattr(collecting.disks, "disks", broken)
    facts = collect()
    assert facts.packages == {} and facts.memory_total is None and facts.disks == {} and facts.python.version
    assert not [f for f in diagnose(facts) if f.severity == "error"]


def test_secrets_are_not_collected(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    assert b"verysecret" not in encode(collect())


def test_the_first_torch_of_the_path_counts_and_the_others_are_named(tmp_path):
    for name, version, cuda in (("a", "2.13.0+cu130", "'13.0'"), ("b", "2.6.0", "None")):
        folder = tmp_path / name / "torch"
        folder.mkdir(parents=True)
        (folder / "version.py").write_text(
            f"from typing import Optional\n__version__ = '{version}'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n"
        )
    found = packages.torch_here([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")])
    assert found.version == "2.13.0+cu130" and found.cuda == "13.0" and found.hip is None and len(found.places) == 2
    assert packages.torch_here([str(tmp_path / "b")]).cuda == ""
    assert packages.torch_here([str(tmp_path)]) is None


def test_where_models_are_kept_follows_the_hubs_own_order(tmp_path):
    assert disks.hub_folder({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == (disks.Path("/a"), "HF_HUB_CACHE")
    assert disks.hub_folder({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"})[0] == disks.Path("/b/hub")
    assert disks.hub_folder({"XDG_CACHE_HOME": "/c"})[0] == disks.Path("/c/huggingface/hub")
    blobs = tmp_path / "models--x--y" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(b"x" * 1000)
    (blobs / "def").write_bytes(b"x" * 5000)
    assert disks.incomplete_downloads({"HF_HUB_CACHE": str(tmp_path)}) == 1000
    assert disks.incomplete_downloads({"HF_HUB_CACHE": str(tmp_path / "none")}) is None


@pytest.fixture
def root(tmp_path):
    def put(name, text="", binary=None):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(binary) if binary is not None else file.write_text(text)
        return tmp_path

    return put


def test_reading_linux(root):
    tree = root("proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    assert linux.is_wsl(tree) and linux.container(tree) is None and linux.secure_boot(tree) is None
    root("sys/firmware/efi/efivars/SecureBoot-8be4df61", binary=b"\x06\x00\x00\x00\x01")
    assert linux.secure_boot(tree) is True
    root("proc/1/environ", "PATH=/bin\0container=lxc\0")
    assert linux.container(tree) == "lxc"
    root(".dockerenv")
    assert linux.container(tree) == "docker"
    root("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Wed Sep 1 2025\n")
    root("proc/driver/nvidia/params", "PreserveVideoMemoryAllocations: 1\n")
    assert linux.driver_module(tree) == "580.95.05" and linux.preserves_memory(tree) is True
    root("proc/modules", "nvidia 62 1 - Live\nnouveau_fake 1 0 - Live\nnvidia_uvm 4 0 - Live\n")
    assert linux.modules(tree) == ("nvidia", "nvidia_uvm")
    root("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")
    root("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    root("sys/bus/pci/devices/0000:01:00.0/device", "0x2782\n")
    root("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n")
    assert linux.adapters(tree) == ("10de:2782",)


def test_libcuda_under_wsl(root):
    tree = root("usr/lib/wsl/lib/libcuda.so.1")
    assert linux.wsl_library({}, tree) == "/usr/lib/wsl/lib/libcuda.so.1"
    root("usr/lib/x86_64-linux-gnu/libcuda.so.1")
    assert linux.wsl_library({}, tree) == "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    assert linux.wsl_library({}, tree / "nowhere") is None


def test_toolkit_and_cudnn(root, tmp_path):
    tree = root("usr/local/cuda/version.json", '{"cuda" : {"name" : "CUDA SDK", "version" : "12.4.1"}}')
    assert linux.toolkit({}, tree) == "12.4.1"
    root("old/libcudnn.so.8")
    root("new/libcudnn.so.9")
    assert linux.cudnn_copies({"LD_LIBRARY_PATH": str(tmp_path / "old")}, [tmp_path / "new"]) == {
        str(tmp_path / "old"): 8,
        str(tmp_path / "new"): 9,
    }


def test_docker_from_its_files(root):
    tree = root("etc/docker/daemon.json", '{"runtimes": {"nvidia": {}}, "exec-opts": ["native.cgroupdriver=systemd"]}')
    found = linux.docker({"docker": "/usr/bin/docker", "nvidia-ctk": "/usr/bin/nvidia-ctk"}, tree)
    assert found.toolkit and found.configured and not found.snap and found.cgroup_driver == "systemd"
    assert linux.docker({"docker": "/snap/bin/docker"}, tree).snap
    assert linux.docker({}, tree) is None


def test_only_lines_that_matter_are_kept_of_the_kernel_log():
    log = (
        "[1] usb 1-1: new device\n[2] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\x07\n[3] PM: suspend exit\n"
        + "x" * 500
    )
    assert linux.lines_that_matter(log) == (
        "[2] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        "[3] PM: suspend exit",
    )


def test_no_program_is_started(monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail(f"started {a}"))
    assert collect().memory_total > 0


def test_the_kernels_buffer_and_where_it_is_closed_the_log_file_of_this_boot(root, tmp_path):
    root("var/log/kern.log", "Xid of an old boot\nkernel: Linux version 6.14\nkernel: PM: suspend exit\n")
    assert linux.kernel_log(tmp_path) == ("kernel: PM: suspend exit",)
    root("dev/kmsg", "4,1,2,-;NVRM: Xid (PCI:0000:01:00): 31, pid=1\n")
    assert linux.kernel_log(tmp_path) == ("NVRM: Xid (PCI:0000:01:00): 31, pid=1",)
    assert linux.kernel_log(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, None),
        ({"AC": ("Mains", "1")}, None),
        ({"AC": ("Mains", "0"), "BAT0": ("Battery", "")}, True),
        ({"AC": ("Mains", "1"), "BAT0": ("Battery", "")}, False),
    ],
)
def test_battery(root, tmp_path, supplies, expected):
    for name, (kind, online) in supplies.items():
        root(f"sys/class/power_supply/{name}/type", kind + "\n")
        root(f"sys/class/power_supply/{name}/online", online + "\n")
    assert linux.on_battery(tmp_path) is expected


@pytest.mark.parametrize("answer", ["garbage", -1, [1], {"a": object()}, object(), b"\xff"])
def test_nonsense_from_every_probe_is_unknown_and_breaks_nothing(monkeypatch, answer):
    for module in (linux, packages, disks):
        for name in [n for n in dir(module) if callable(getattr(module, n)) and n.islower() and not n.startswith("_")]:
            if getattr(module, name).__module__ == module.__name__:
                monkeypatch.setattr(module, name, lambda *_: answer)
    monkeypatch.setattr(collecting, "processor", lambda: answer)
    monkeypatch.setattr(collecting.nvml, "likely", lambda: True)
    monkeypatch.setattr(collecting.nvml.Nvml, "open_or_say", lambda: answer)
    facts = collect()
    assert decode(encode(facts)) == facts and facts.python.version
    assert not [f for f in diagnose(facts) if f.title.startswith("the check")]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux' own questions")
def test_a_probe_that_hangs_costs_its_own_answer_only(monkeypatch):
    import threading

    stuck = threading.Event()
    monkeypatch.setattr(collecting, "PATIENCE", 0.3)
    monkeypatch.setattr(linux, "docker", lambda *_: stuck.wait(60))
    monkeypatch.setattr(packages, "versions", lambda: stuck.wait(60))
    facts = collect()
    stuck.set()
    assert facts.docker is None and facts.packages == {} and facts.distribution == linux.distribution()


def test_what_a_llama_server_was_built_for_shows_by_its_code_and_its_libraries(tmp_path):
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    (tmp_path / "lib").mkdir()
    program.write_bytes(b"\x7fELF code for the CPU")
    assert packages.llama_server(None) is None and packages.llama_server(str(program), ()) == ()
    (tmp_path / "lib" / "libggml-vulkan.so").touch()
    assert packages.llama_server(str(program), ()) == ("vulkan",)
    program.write_bytes(b"\x7fELF ggml_cuda_init: found %d devices")
    assert packages.llama_server(str(program), ()) == ("cuda", "vulkan")
    assert packages.llama_server(str(tmp_path / "gone"), ()) == ()


def test_a_log_that_may_not_be_read_is_told_apart_from_a_silent_one(tmp_path):
    assert not linux.kernel_log_readable(tmp_path) and linux.kernel_log(tmp_path) == ()
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/syslog").write_text("all is well\n")
    assert linux.kernel_log_readable(tmp_path) and linux.kernel_log(tmp_path) == ()


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may open everything")
def test_device_files_that_are_closed_to_this_user(tmp_path):
    (tmp_path / "dev").mkdir()
    for name, mode in (("nvidia0", 0o000), ("nvidiactl", 0o666)):
        (tmp_path / "dev" / name).touch()
        (tmp_path / "dev" / name).chmod(mode)
    assert linux.closed_nodes(tmp_path) == ("/dev/nvidia0",)
