"""Which images a stage used, as its summary notes them: how many, and the SHA-256 of their names.

The names are hashed in the order of the caches, as `prepare` does. So the same images have the same hash,
whatever order a ranking or a draw put them in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts.files import digest_of
from pipeline.data.domain import Domain


def list_facts(names: Sequence[str]) -> dict[str, Any]:
    """`images` and `names_sha256` of a list of image names."""
    return {"images": len(names), "names_sha256": digest_of(list(names))}


def domain_lists(domains: Mapping[str, Domain]) -> dict[str, Any]:
    """The facts of the images that each domain holds, by its role."""
    found = {}
    for role, domain in domains.items():
        held = set(domain.names)
        found[role] = list_facts([name for cache in domain.caches for name in cache.names if name in held])
    return found
