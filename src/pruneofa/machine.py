"""What the machine at hand is: for reports, results and `pruneofa doctor`."""

import os
import platform
from importlib import metadata
from pathlib import Path

from pruneofa.cores import usable_cores

_INSTRUCTION_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "numpy")


def processor() -> str:
    """Model name of the processor, as the system tells it."""
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Those instruction sets of interest that the processor reports."""
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            present = set(value.split())
            return [name for name in _INSTRUCTION_SETS if name in present]
    return []


def memory_bytes() -> int | None:
    """Installed memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of the libraries that decide results; those that are missing are left out."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe() -> dict[str, str]:
    """The machine in a few lines: processor, cores, memory, instruction sets, Python."""
    memory = memory_bytes()
    return {
        "processor": processor(),
        "cores": str(usable_cores()),
        "memory": "unknown" if memory is None else f"{memory / 2**30:.0f} GiB",
        "instruction sets": ", ".join(instruction_sets()) or "unknown",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
