"""How far honest computations lie apart, in noise floors: the numbers behind the multiples that decide.

Run from the repository's root: ``python -m parity_tests.evidence.honest_ratios [SEEDS] [PORT]``. Each seed draws new
weights and new probes and runs the whole chain; both sides are right, so every ratio printed is honest.
"""

import sys
from collections import defaultdict

from portproof import find_port, verify

LOWER = ("bfloat16", "float16")


def main(seeds: int, port: str) -> None:
    """Print the largest ratio of every kind of hop, and of the modules, over all seeds."""
    ratios: dict[str, list[float]] = defaultdict(list)
    located = find_port(port)
    for seed in range(seeds):
        report = verify(located, seed=seed, precisions=LOWER)
        for hop in report.hops:
            kind = f"outputs, {hop.precision}" if hop.precision in LOWER else hop.kind
            if hop.worst is not None and hop.worst.ratio is not None and hop.worst.tensor in located.port.outputs:
                ratios[kind].append(hop.worst.ratio)
            if hop.modules is not None and hop.modules.worst_ratio is not None:
                ratios[f"modules, {hop.precision}"].append(hop.modules.worst_ratio)
        if report.modules is not None and report.modules.worst_ratio is not None:
            ratios["module by module"].append(report.modules.worst_ratio)
        print(f"seed {seed}: {', '.join(sorted({hop.verdict for hop in report.hops}))}", file=sys.stderr)
    print(f"{'':18}{'hops':>6}{'median':>9}{'largest':>9}")
    for kind, found in ratios.items():
        found.sort()
        print(f"{kind:18}{len(found):6}{found[len(found) // 2]:9.1f}{found[-1]:9.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2] if len(sys.argv) > 2 else "googlenet")
