"""All kinds of attempts, in the order of the table."""

from tests.attack import archives, kills, mutations, servers
from tests.attack.runner import Kind

MUTATIONS = 100_000
OF_DEVICES = 1_000  # of each format


def all_kinds() -> list[Kind]:
    """Every kind with the number of tries of the whole attack."""
    return [
        *mutations.kinds(MUTATIONS),
        *mutations.device_kinds(OF_DEVICES),
        Kind("files that are none", len(mutations.ODD), mutations.odd),
        Kind("faults of a server", len(servers.FAULTS), servers.attempt, 60),
        Kind("archives and lists", len(archives.CASES), archives.attempt, 30),
        *(Kind(f"kills: {name}", kills.TRIES, attempt, 300) for name, attempt in kills.ATTEMPTS.items()),
    ]
