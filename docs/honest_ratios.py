"""How far honest computations lie apart, in noise floors: the numbers behind the multiple that decides.

Run from the repository's root: ``python docs/honest_ratios.py [SEEDS]``. Each seed draws new weights and new probes
for GoogLeNet and runs the whole chain; both sides are right, so every ratio printed is honest.
"""

import sys
from collections import defaultdict

from portproof import find_port, verify


def main(seeds: int) -> None:
    """Print the largest ratio of every kind of hop, and of the modules, over all seeds."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        report = verify(find_port("convert.googlenet:GOOGLENET"), seed=seed)
        for hop in report.hops:
            if hop.worst is not None and hop.worst.ratio is not None:
                ratios[hop.kind].append(hop.worst.ratio)
        if report.modules is not None and report.modules.worst_ratio is not None:
            ratios["module by module"].append(report.modules.worst_ratio)
        print(f"seed {seed}: {report.verdict}", file=sys.stderr)
    print(f"{'':18}{'hops':>6}{'median':>9}{'largest':>9}")
    for kind, found in ratios.items():
        found.sort()
        print(f"{kind:18}{len(found):6}{found[len(found) // 2]:9.1f}{found[-1]:9.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
