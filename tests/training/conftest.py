import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# The small runs that the tests of this folder share lie beside them; tests are no package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Sums come out the same bit for bit only where they are split among the same number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="package")
def quick() -> Iterator[None]:
    """Leave out what only costs time here: waiting for the disk, and collecting the libraries' own objects."""
    fsync = os.fsync
    os.fsync = lambda file: None
    gc.freeze()
    yield
    gc.unfreeze()
    os.fsync = fsync
