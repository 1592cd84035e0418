"""The command that installs NVIDIA's driver, by system and distribution: a command of another one is worse than none."""

import re

PAGE = "https://www.nvidia.com/drivers"
OLD = ((0x1340, 0x17FF), (0x15F0, 0x15FF), (0x1B00, 0x1DFF))
"""PCI numbers of Maxwell (GM10x to GM20x), Pascal and Volta: the PCI ID database"""
OPEN = "580"
"""a branch with open kernel modules that all of Ubuntu's and Debian's current releases have; 2026-09-01"""


def install_driver(
    system: str, distribution: str | None, wsl: bool, branch: str | None, needs_open: bool = False
) -> str:
    """One command, or one thing to do. branch: the last one for an old card, else None for the current driver."""
    if wsl:
        return f"install the driver in Windows, never inside WSL2: {PAGE}"
    if system != "linux":
        return (
            f"install driver branch {branch} (the last for this card) from {PAGE}"
            if branch
            else f"install the driver from {PAGE}"
        )
    name = (distribution or "").lower()
    if "ubuntu" in name or "mint" in name or "pop!_os" in name or not name:
        if branch or needs_open:
            return f"sudo apt install nvidia-driver-{branch or OPEN}{'-open' if needs_open else ''}" + _reboot(
                needs_open
            )
        return "sudo ubuntu-drivers install"
    if "debian" in name:
        return f"sudo apt install nvidia-driver nvidia-{'' if branch else 'open-'}kernel-dkms" + _reboot(needs_open)
    if "fedora" in name or "rocky" in name or "alma" in name or "red hat" in name or "centos" in name:
        version = f"-{branch}xx" if branch else ""
        if needs_open:
            return "echo '%_with_kmod_nvidia_open 1' | sudo tee /etc/rpm/macros.nvidia-kmod && sudo akmods --force && sudo reboot"
        return f"sudo dnf install akmod-nvidia{version} xorg-x11-drv-nvidia{version}-cuda"
    if "arch" in name or "manjaro" in name or "cachyos" in name or "endeavour" in name:
        return (
            f"yay -S nvidia-{branch}xx-dkms"
            if branch
            else "sudo pacman -S nvidia-open-dkms nvidia-utils" + _reboot(needs_open)
        )
    if "suse" in name:
        return "sudo zypper install nvidia-open-driver-G06-signed-kmp-meta nvidia-compute-utils-G06" + _reboot(
            needs_open
        )
    return f"install driver branch {branch} from {PAGE}" if branch else f"install the driver from {PAGE}"


def before_turing(adapter: str) -> bool:
    """Whether "10de:1b80 nvidia" is a card of Maxwell, Pascal or Volta."""
    number = re.match(r"10de:([0-9a-f]{4})\b", adapter)
    return number is not None and any(low <= int(number[1], 16) <= high for low, high in OLD)


def likely_capability(adapters: tuple[str, ...]) -> str | None:
    """The least compute capability that a card has by its PCI number, for choosing a build before any driver runs."""
    numbers = [int(found[1], 16) for a in adapters if (found := re.match(r"10de:([0-9a-f]{4})\b", a))]
    newest = max(numbers, default=None)
    if newest is None:
        return None
    # Turing begins at 1e02; 1af0 to 1aff and 1ad0 to 1aef are sound and USB parts, which are no display adapters.
    return "7.5" if newest >= 0x1E00 else "5.0" if before_turing(f"10de:{newest:04x}") else "3.5"


def _reboot(wanted: bool) -> str:
    return " && sudo reboot" if wanted else ""


def signing_key(distribution: str | None) -> str:
    """The public half of the key that modules are signed with on this machine."""
    name = (distribution or "").lower()
    if "fedora" in name or "rocky" in name or "alma" in name or "red hat" in name:
        return "/etc/pki/akmods/certs/public_key.der"
    if "debian" in name or "arch" in name or "suse" in name:
        return "/var/lib/dkms/mok.pub"
    return "/var/lib/shim-signed/mok/MOK.der"
