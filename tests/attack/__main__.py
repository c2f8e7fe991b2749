"""Attack and write the counts: ``python -m tests.attack --share 0.01``."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ecgstudy.paths import RESULTS, written_whole
from tests.attack.kinds import all_kinds
from tests.attack.runner import Worker, run


def main() -> int:
    """Run the attack; 1 if an attempt failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the whole attack; 0.01 is quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", default="", help="kinds whose name contains this; in --out they replace theirs")
    parser.add_argument("--number", type=int, help="a single attempt of --only, in this process, with its traceback")
    parser.add_argument("--out", type=Path, help="where the counts go: results/attack.json, of a whole attack")
    given = parser.parse_args()
    Worker.context.set_forkserver_preload(["tests.attack.kinds"])  # so that a new worker starts in no time
    kinds = [kind for kind in all_kinds() if given.only in kind.name]
    if given.number is not None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            print(kinds[0].name, kinds[0].attempt(given.seed, given.number, Path(folder)))
        return 0
    print(f"{'kind':<34}{'tried':>8}{'refused':>9}{'read':>8}{'failed':>8}{'seconds':>9}")
    counts = {}
    for name, row in run(kinds, given.share, given.seed, given.jobs):
        print(
            f"{name:<34}{row.tried:>8,}{row.refused:>9,}{row.read:>8,}{row.failed:>8,}{row.seconds:>9,.1f}", flush=True
        )
        for number, detail in sorted(row.failures.items())[:20]:
            print(f"    --only {name!r} --seed {given.seed} --number {number}: {detail}", flush=True)
        counts[name] = {key: value for key, value in asdict(row).items() if key != "failures"}
    out = given.out or (None if given.only else RESULTS / "attack.json")
    if out:
        before = json.loads(out.read_text(encoding="utf-8")) if given.only and out.exists() else {"seed": given.seed}
        if before["seed"] != given.seed:
            parser.error(f"{out} is of seed {before['seed']}: give --seed {before['seed']}, or another --out")
        found = {"seed": given.seed, "kinds": {**before.get("kinds", {}), **counts}}
        with written_whole(out) as partial:
            partial.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(count["failed"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
