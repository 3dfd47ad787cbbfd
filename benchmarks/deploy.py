"""What to deploy, for the models of docs/deploying.md: their suites, and the figures of that page.

    python -m benchmarks.deploy build/deploy
    python -m benchmarks.deploy build/deploy --only googlenet,bert

GoogLeNet and MobileNet v3 are judged on the digits that their training held out (``make train`` writes GoogLeNet's
weights; what is not there is trained first, in torch, a quarter of an hour each); ResNet-50 on seeded crops of
photographs, with sensitised weights: what those lose is the cost of a precision where every channel matters, and no
accuracy. BERT is no classifier of images and is timed alone. About an hour and a half on two cores, which it wants for
itself. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image

from parity_tests.evidence.crops import write
from portproof.training._data import load_data

#: Suite to port, and what ``deploy`` is told beside the images.
LOSS = ("--at-most-loss", "1%")
MODELS = {"googlenet": "googlenet", "resnet50": "resnet50", "mobilenet_v3": "mobilenet_v3_small"}
#: Those that are trained on digits, and how.
TRAINED = {
    "googlenet": ("--dropout", "off"),
    "mobilenet_v3": ("--start", "factory", "--epochs", 12, "--with", "learning_rate=0.002"),
}
BATCHES = (1, 8)
#: Crops of photographs: 0 lost of them is a bound of 0.75%.
CROPS = 400
BERT = ("float32", "bfloat16", "float16", "int8")
#: The size of BERT-base, but for its vocabulary.
BASE = ("--set", "width=768", "--set", "heads=12", "--set", "depth=12", "--set", "vocabulary=3000")


def run(*arguments: object) -> int:
    """Run a command of portproof; returns its exit code."""
    words = [str(word) for word in arguments]
    print("portproof", *words, file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "portproof", *words], check=False).returncode


def digits(folder: Path) -> Path:
    """Write the digits that the training held out, a folder a class."""
    held = load_data("digits").test
    for index, label in enumerate(held.labels.tolist()):
        target = folder / str(label) / f"{index:04d}.png"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(held.image(index)).save(target)
    return folder


def weights(folder: Path, name: str) -> Path:
    """Return the weights of a model that reads digits."""
    made = folder / f"{name}-training"
    places = (Path("runs-digits"), Path("runs/digits"), made) if name == "googlenet" else (made,)
    for place in places:
        if (place / "torch" / "weights.pt").is_file():
            return place / "torch" / "weights.pt"
    run(
        "train", MODELS[name], "--data", "digits", "--set", "num_classes=10", "--side", "torch", "--no-agree",
        *TRAINED[name], "-o", made,
    )  # fmt: skip
    return made / "torch" / "weights.pt"


def deploy(folder: Path, name: str) -> list[int]:
    """Say what to deploy of a model at each batch size; returns the exit codes of what was run."""
    codes = []
    if name in TRAINED:
        more = ["--images", digits(folder / "digits"), "--labels", "folders", "--set", "num_classes=10"]
        more += ["--weights", weights(folder, name), "--count", 1000]
    else:
        crops = folder / "crops"
        if not crops.is_dir():
            write(crops, CROPS, 0)
        more = ["--images", crops, "--count", CROPS]
    for batch in BATCHES:
        out = folder / f"{name}-{batch}"
        if not (out / "deploy.json").is_file():
            codes.append(run("deploy", MODELS[name], *more, *LOSS, "--batch", batch, "-o", out))
    return codes


def bert(folder: Path) -> list[int]:
    """Time the runners of BERT in every precision."""
    out = folder / "bert.json"
    if out.is_file():
        return []
    batches, precisions = ",".join(map(str, BATCHES)), ",".join(BERT)
    timed = ("--batch", batches, "--precision", precisions, "--budget", "20m")
    return [run("bench", "run", "bert", *BASE, *timed, "-o", out)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="googlenet,resnet50,mobilenet_v3,bert", help="suites, with commas")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    codes = [
        code
        for name in given.only.split(",")
        for code in (bert(given.folder) if name == "bert" else deploy(given.folder, name))
    ]
    return max((code for code in codes if code not in (0, 3)), default=0)


if __name__ == "__main__":
    sys.exit(main())
