"""``portproof agree``: counts that hold, whatever the order, the workers and what happens to them."""

import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from portproof._errors import BadInput
from portproof.agree._cluster import chosen_workers
from portproof.agree._images import Images, Labels, read_bytes
from portproof.agree._judge import Tally, Yardstick, bounds, record, tally
from portproof.agree._store import Store
from tests.conftest import Run

ROOT = Path(__file__).parents[2]
PORT = "tests.small_ports:PICTURES"
COUNT = 40


def jpeg(number: int, side: int = 48) -> bytes:
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, some below it."""
    top = tmp_path_factory.mktemp("images")
    (top / "more").mkdir()
    for number in range(COUNT):
        (top / ("more" if number % 2 else ".") / f"{number:03d}.jpg").write_bytes(jpeg(number))
    return top


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the tests of this file share, as runs of one person do."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster that the tests of this file share: starting one takes longer than most runs on it."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0", silence_logs=50, protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def agree(run: Run, folder: Path, store: Path, scheduler: str, tmp_path: Path) -> Callable[..., tuple]:
    """Run it on the folder, on workers of its own where it is told how many.

    Returns the answer, the document, and how many results were computed.
    """

    def call(*more: object, images: object = folder, into: object = store, runners: str = "torch-eager") -> object:
        target = tmp_path / "agree.json"
        target.unlink(missing_ok=True)
        where = () if "--workers" in more else ("--scheduler", scheduler)
        answer = run(
            "agree", PORT, "--images", images, "--store", into, "--runners", runners, "--unit", 16, "--json", target,
            *where, *more,
        )  # fmt: skip
        computed = next((line for line in answer.out.splitlines() if "results computed" in line), None)
        count = None if computed is None else int(computed.split(";")[1].split()[0])
        return answer, target.read_bytes() if target.is_file() else None, count

    return call


def test_a_right_port_agrees_and_a_second_run_computes_only_what_is_new(agree, run) -> None:
    answer, document, count = agree("--workers", 2)
    assert answer.code == 0, answer
    found = json.loads(document)
    assert found["images"] == COUNT
    assert found["runners"][0]["top1"]["flips"] == 0
    assert 0 < found["runners"][0]["ratios"]["max"] < 32
    assert found["runners"][0]["top1"]["high"] == pytest.approx(1 - 0.05 ** (1 / COUNT))
    assert count == 2 * 3  # three units, of the oracle and the runner
    again, same, none = agree("--workers", 1)
    assert (again.code, same, none) == (0, document, 0)
    both, wider, new = agree(runners="torch-eager,onnxruntime-torch")
    assert both.code == 0
    assert new == 3
    assert json.loads(wider)["runners"][0] == found["runners"][0]
    schema = json.loads(run("schema", "agree").out)
    import jsonschema

    jsonschema.validate(json.loads(wider), schema)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(agree, tmp_path: Path) -> None:
    _, first, _ = agree("--workers", 1, into=tmp_path / "one")
    _, second, count = agree("--workers", 2, into=tmp_path / "two")
    assert count == 6
    assert first == second


def test_a_wrong_side_is_seen(agree) -> None:
    answer, document, _ = agree("--set", "shift=0.001", runners="paddle-dygraph")
    assert answer.code == 1
    found = json.loads(document)["runners"][0]
    assert found["verdict"] == "divergent"
    assert found["beyond"] == COUNT
    assert "floors out" in answer.out


def test_damaged_results_are_made_again_and_said_to_be(agree, store: Path, tmp_path: Path) -> None:
    _, document, _ = agree()
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    entries = sorted(path for path in (copy / "units").rglob("*") if path.is_file())
    for number, path in enumerate(entries):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content if number % 2 else content[: len(content) // 2])
    answer, again, count = agree(into=copy)
    assert again == document
    assert count == 6
    assert "were damaged, and made again" in answer.out


def test_an_unreadable_image_is_named_and_the_others_count(agree, folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(folder, images)
    (images / "000.jpg").write_bytes(b"no image")
    (images / "<b>x.jpg").write_bytes(jpeg(99)[:200])
    page = tmp_path / "page.html"
    answer, document, _ = agree("--report", page, images=images)
    assert answer.code == 2
    found = json.loads(document)
    assert found["images"] == COUNT - 1
    assert [one["name"] for one in found["unreadable"]] == ["000.jpg", "<b>x.jpg"]
    assert "unreadable: '000.jpg' cannot be read as an image" in answer.out
    text = page.read_text()
    assert "&lt;b&gt;x.jpg" in text
    assert "<b>x" not in text
    assert text.count("<script") == 1  # the page's own


def test_shards_and_lists_hold_the_same_images(agree, folder: Path, tmp_path: Path) -> None:
    _, document, _ = agree()
    plain = json.loads(document)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in range(2):
        with tarfile.open(shards / f"s{shard}.tar", "w") as tar:
            for number, name in list(enumerate(names))[shard * 20 : shard * 20 + 20]:
                add(tar, f"{number:03d}.cls", b"3")
                add(tar, f"{number:03d}.jpg", (folder / name).read_bytes())
                add(tar, f"{number:03d}.json", b"{}")
    answer, document, count = agree(images=shards)
    sharded = json.loads(document)
    assert count == 0  # the same bytes are the same work, wherever they lie
    assert sharded["fingerprint"] == plain["fingerprint"]
    assert sharded["labelled"] == COUNT
    assert 0 <= sharded["accuracy"] <= 1
    assert "accuracy" in answer.out
    listed = folder / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    try:
        _, document, count = agree(images=listed)
    finally:
        listed.unlink()
    assert count == 0
    assert json.loads(document)["fingerprint"] == plain["fingerprint"]


def test_labels_by_name(agree, folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label\n" + "".join(f"{number:03d}.jpg,{number % 10}\n" for number in range(COUNT - 1)))
    answer, document, _ = agree("--labels", labels)
    assert answer.code == 0
    assert json.loads(document)["labelled"] == COUNT - 1
    assert json.loads(document)["notes"] == ["1 images have no label"]
    labels.write_text("other.jpg,1\n")
    answer, _, _ = agree("--labels", labels)
    answer.refused(2, "no image has a label", "other.jpg")
    labels.write_text("000.jpg,10\n")
    agree("--labels", labels)[0].refused(2, "class 10", "0 to 9")


def test_labels_by_folder_and_what_a_runner_costs(agree, tmp_path: Path) -> None:
    for number in range(COUNT):
        target = tmp_path / "classes" / str(number % 10) / f"{number:03d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(jpeg(number))
    answer, document, _ = agree("--labels", "folders", images=tmp_path / "classes")
    assert answer.code == 0, answer
    found = json.loads(document)
    assert found["labelled"] == COUNT
    cost = found["runners"][0]["accuracy_cost"]
    assert cost == {"lost": 0, "gained": 0, "images": COUNT, "high": pytest.approx(1 - 0.05 ** (1 / COUNT))}
    assert "drop below" in answer.out
    shutil.rmtree(tmp_path / "classes/9")
    agree("--labels", "folders", images=tmp_path / "classes")[0].refused(2, "9 folders, the output 10 classes")
    (tmp_path / "classes/loose.jpg").write_bytes(jpeg(0))
    agree("--labels", "folders", images=tmp_path / "classes")[0].refused(2, "'loose.jpg' lies in no folder")


def test_what_is_quantised_has_the_weights_that_were_given(agree, tmp_path: Path) -> None:
    from tests.small_ports import torch_pictures

    state = {name: tensor.numpy() for name, tensor in torch_pictures().state_dict().items()}
    state["classes.bias"][3] = 100.0  # every image is of the fourth class
    save_file(state, tmp_path / "weights.safetensors")
    names = ("torch-int8-compile", "onnxruntime-int8-torch", "onnxruntime-float16-weights-torch")
    answer, document, _ = agree("--weights", tmp_path / "weights.safetensors", "--count", 8, runners=",".join(names))
    found = json.loads(document)["runners"]
    assert {one["name"]: one["changed"]["lost"] for one in found} == dict.fromkeys(names, 0), answer


def test_ranges_are_read_from_images_that_are_set_apart(agree, folder: Path) -> None:
    whole = [image.name for image in Images(str(folder))]
    some = Images(str(folder), calibrates=True)
    apart = [image.name for image in some.apart]
    assert len(apart) == len(whole) // 10
    assert sorted([*apart, *(image.name for image in some)]) == sorted(whole)
    drawn = Images(str(folder), 10, calibrates=True)  # of those that are not drawn: what is judged stays
    assert [image.name for image in drawn] == [image.name for image in Images(str(folder), 10)]
    assert not {image.name for image in drawn} & {image.name for image in drawn.apart}
    answer, document, _ = agree(runners="onnxruntime-int8-torch")
    assert json.loads(document)["images"] == len(whole) - len(apart)
    assert f"ranges are read from {len(apart)} images, which are not judged" in " ".join(answer.out.split())
    few, _, _ = agree("--count", len(whole), runners="torch-eager")
    assert "ranges are read" not in few.out


def test_images_are_drawn_by_seed_from_all_over_the_folder(agree, folder: Path) -> None:
    drawn = [[image.name for image in Images(str(folder), 10, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 10
    assert len({name.startswith("more/") for name in drawn[0]}) == 2
    _, document, _ = agree("--count", 10)
    found = json.loads(document)
    assert (found["images"], found["drawn_from"]) == (10, COUNT)
    _, document, _ = agree("--count", COUNT)
    assert json.loads(document)["drawn_from"] is None


def test_the_bound_that_is_asked_for_decides(agree) -> None:
    assert agree("--at-most", "10%")[0].code == 0
    answer, _, _ = agree("--at-most", "1%")
    assert answer.code == 3
    assert "cannot be said to be at most 1.00%" in answer.out


def test_a_scheduler_that_is_there(agree, scheduler: str) -> None:
    _, document, _ = agree("--workers", 1)
    answer, same, _ = agree("--scheduler", scheduler)
    assert answer.code == 0, answer
    assert same == document


def test_mistakes_are_one_line_each(agree, run: Run, folder: Path, tmp_path: Path) -> None:
    run("agree", PORT).refused(2, "--images is missing")
    agree(images=tmp_path / "none")[0].refused(2, "is not there")
    (tmp_path / "empty").mkdir()
    agree(images=tmp_path / "empty")[0].refused(2, "no image or shard")
    agree("--unit", 10, "--batch", 4)[0].refused(2, "multiple of --batch")
    agree(runners="torch-eager,torch-eager")[0].refused(2, "twice")
    agree(runners="no-such")[0].refused(2, "no runner 'no-such'")
    agree("--output", "none")[0].refused(2, "logits")
    agree("--scheduler", "tcp://127.0.0.1:9")[0].refused(4, "no dask scheduler")
    agree("--report", tmp_path / "page.txt")[0].refused(2, ".html")
    run("agree", "tests.small_ports:TWO_INPUTS", "--images", folder).refused(2, "must take one image")
    (tmp_path / "file").write_text("")
    agree(into=tmp_path / "file" / "store")[0].refused(2, "--store")


def test_a_tar_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 2**33 - 1
    shard.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))
    with pytest.raises(BadInput, match="header of"):
        list(Images(str(shard)))


def test_a_shard_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for number in range(3):
            add(tar, f"{number}.jpg", jpeg(number))
    content = shard.read_bytes().rstrip(b"\0")
    assert len(list(Images(str(shard)))) == 3
    for end in range(1, len(content), 256):
        shard.write_bytes(content[:end])
        with pytest.raises(BadInput, match="no whole tar file"):
            list(Images(str(shard)))


def test_a_tar_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    member = tarfile.TarInfo("x.jpg")
    member.size = -512
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    shard.write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(BadInput, match="no whole tar file"):
        list(Images(str(shard)))


def test_names_in_a_shard_are_text(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        add(tar, "../../etc/x.jpg", jpeg(1))
        link = tarfile.TarInfo("y.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = list(Images(str(shard)))
    assert [picture.name for picture in found] == ["s.tar/../../etc/x.jpg"]
    assert read_bytes(found[0]) == jpeg(1)


def test_a_name_is_no_url_and_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "[a]*"
    folder.mkdir()
    names = sorted(["zip::file.jpg", "a#b?c.jpg", "http:x.jpg", "%2e%2e.jpg", " .jpg"])
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(number))
    found = list(Images(str(folder)))
    assert [picture.name for picture in found] == names
    assert [read_bytes(picture) for picture in found] == [jpeg(number) for number in range(len(names))]


@pytest.mark.slow  # a benchmark that is interrupted is in the fast suite
def test_a_run_that_is_interrupted_says_so_and_goes_on(folder: Path, tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "agree.json"
    command = [sys.executable, "-m", "portproof", "agree", PORT, "--images", str(folder), "--store", str(store)]
    command += ["--runners", "torch-eager", "--unit", "1", "--batch", "1", "--json", str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        # More entries than images: each image has one that says whether it can be read, so at least one is a result.
        while len(list(store.glob("units/*/[!.]*"))) <= COUNT and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "portproof: interrupted\n")
    assert not target.exists()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "0 found in the store" not in again.stdout


def test_labels_say_which_line_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("a.jpg 1\nb.jpg one\n")
    with pytest.raises(BadInput, match="line 2"):
        Labels.read(file)
    file.write_text("a.jpg 1\na.jpg 2\n")
    with pytest.raises(BadInput, match="two labels"):
        Labels.read(file)


STICK = Yardstick(rms=1e-7, tail=0.0, exact=False, scale=1.0, classes=4)


def one(scores: list[float], oracle: list[float]) -> Tally:
    found, expected = np.array([scores], np.float32), np.array([oracle])
    return tally(record(found, expected), expected, STICK, "float32", ["x"], [0], [None])


def test_a_flip_within_the_noise_is_a_tie() -> None:
    near = one([1.0000001, 1.0, -1, -1], [1.0, 1.00000005, -1, -1])
    assert near.first == [0, 1, 0]
    far = one([1.0001, 1.0, -1, -1], [1.0, 1.00005, -1, -1])
    assert far.first == [0, 0, 1]
    assert far.flips[0].margin > 2 * STICK.farthest
    assert far.beyond == 1


def test_what_is_not_finite_on_one_side_is_infinitely_far() -> None:
    assert one([np.nan, 1, 0, 0], [2, 1, 0, 0]).largest == np.inf
    assert one([np.nan, 1, 0, 0], [np.nan, 1, 0, 0]).beyond == 0


def test_a_lower_precision_s_tie_is_another_answer_all_the_same() -> None:
    oracle = np.zeros((3, 8))
    oracle[:, 0], oracle[0, 1], oracle[1, 1], oracle[2, 1] = 1.0, 1.0 - 1e-7, 1.0 - 1e-3, 0.5
    found = oracle.copy()
    found[:, 1] = 1.1
    counted = tally(record(found, oracle), oracle, STICK, "bfloat16", list("abc"), [0, 1, 2], [0, 1, 0])
    assert counted.first == [0, 2, 1]  # a thousandth is within bfloat16's rounding
    assert counted.changed == 2  # and not within float32's
    assert (counted.lost, counted.gained) == (2, 1)
    quantised = tally(record(found, oracle), oracle, STICK, "int8", list("abc"), [0, 1, 2], [None] * 3)
    assert (quantised.first, quantised.changed) == ([0, 1, 2], 2)


def test_tallies_make_one_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [one((oracle := rng.standard_normal(4)) + rng.standard_normal(4) * 1e-6, oracle) for _ in range(50)]
    forward, backward = Tally(), Tally()
    for part in parts:
        forward.add(part)
    for part in reversed(parts):
        backward.add(part)
    backward.ratios = dict(sorted(backward.ratios.items()))
    forward.ratios = dict(sorted(forward.ratios.items()))
    assert forward == backward
    assert forward.quantile(0.5) == pytest.approx(np.median([part.largest for part in parts]), rel=0.05)


def test_the_bound_is_clopper_and_pearsons() -> None:
    assert bounds(0, 300) == (0.0, pytest.approx(1 - 0.05 ** (1 / 300)))
    low, high = bounds(5, 100)  # one-sided 95%: Hahn and Meeker, Statistical Intervals, 1991, by F quantiles
    assert low == pytest.approx(0.0199, abs=1e-4)
    assert high == pytest.approx(0.1022, abs=1e-4)
    assert bounds(7, 7)[1] == 1.0


def test_workers_of_another_processor_are_left_out_and_named() -> None:
    workers = chosen_workers({"a": ("avx2",), "b": ("avx2", "avx512f"), "c": ("avx2", "avx512f")})
    assert workers.fitting == ["b", "c"]
    assert workers.left_out == (
        "worker a is left out: its processor has avx2, most have avx2, avx512f",
    )  # fmt: skip


def test_an_entry_is_whole_or_absent(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("units", "k" * 64, b"content")
    assert store.get("units", "k" * 64) == b"content"
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    for cut in range(len(path.read_bytes())):
        path.write_bytes(path.read_bytes()[:-1])
        assert Store(str(tmp_path)).get("units", "k" * 64) is None, cut
    with pytest.raises(BadInput, match="has no file"):
        store.fetch("0" * 64, tmp_path / "x")
