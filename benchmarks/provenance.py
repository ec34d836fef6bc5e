"""Where a figure comes from: the command, the commit, the machine, the libraries."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from pruneofa import machine


def provenance() -> dict[str, Any]:
    """What every file in results/ says of its making."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": described.stdout.strip() or "unknown",
        "machine": machine.describe(),
        "packages": machine.package_versions(),
    }
