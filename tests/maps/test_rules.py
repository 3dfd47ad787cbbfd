"""From pairs of names to few rules, and what names say against a map."""

from portproof import WeightMap
from portproof.maps._names import crossed, role
from portproof.maps._rules import general, rules_of


def check(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the rules of some pairs, seen to make each of them."""
    rules = rules_of(pairs)
    weights = WeightMap(rules)
    assert [weights.paddle_path(torch) for torch, _ in pairs] == [paddle for _, paddle in pairs]
    return rules


def test_layers_that_repeat_make_one_rule() -> None:
    pairs = [(f"encoder.layer.{n}.query", f"encoder.layers.{n}.q_proj") for n in range(3)]
    pairs += [(f"encoder.layer.{n}.output.dense", f"encoder.layers.{n}.linear2") for n in range(3)]
    assert check(pairs) == {
        "encoder.layer.{n}.output.dense": "encoder.layers.{n}.linear2",
        "encoder.layer.{n}.query": "encoder.layers.{n}.q_proj",
    }


def test_numbers_that_are_counted_otherwise_make_one_rule() -> None:
    pairs = [(f"features.{n}.conv", f"blocks.{n - 1}.conv") for n in range(1, 6)]
    assert check(pairs) == {"features.{n}": "blocks.{n-1}"}


def test_names_that_fit_need_no_rule_and_no_rule_breaks_them() -> None:
    pairs = [("layer1.0", "layer1.0"), ("layer1.1", "layer1.1"), ("fc", "head"), ("layer1.2", "layer1.9")]
    assert check(pairs) == {"fc": "head", "layer1.2": "layer1.9"}


def test_what_follows_no_pattern_is_said_name_by_name() -> None:
    assert check([("a0", "x7"), ("a1", "x2"), ("a2", "x5")]).keys() == {"a0", "a1", "a2"}


def test_a_number_that_is_none_is_not_counted() -> None:
    weights = WeightMap({"layers.{n}": "blocks.{n-1}"})
    assert weights.paddle_path("layers.norm") == "layers.norm"
    assert weights.paddle_path("layers.0") == "layers.0"
    assert weights.paddle_path("layers.10.fc") == "blocks.9.fc"


def test_a_pattern_covers_all_of_some_names_and_no_others() -> None:
    names = [f"layers.{n}.mask" for n in range(3)]
    assert general(names, [*names, "layers.0.fc"]) == {"layers.{n}.mask": names}
    assert general(names[:2], names) == {"layers.0.mask": ["layers.0.mask"], "layers.1.mask": ["layers.1.mask"]}


def test_parts_that_a_map_exchanges_are_crossed() -> None:
    pairs = [("l.0.query.weight", "l.0.k_proj.weight", (4, 4)), ("l.0.key.weight", "l.0.q_proj.weight", (4, 4))]
    found = crossed(pairs)
    assert [(one.torch, one.paddle, one.named) for one in found] == [
        ("l.0.query", "l.0.k_proj", "l.0.q_proj"), ("l.0.key", "l.0.q_proj", "l.0.k_proj"),
    ]  # fmt: skip
    assert not crossed([(torch, paddle, size) for size, (torch, paddle, _) in enumerate(pairs)])


def test_layers_that_are_counted_from_one_are_not_crossed() -> None:
    assert not crossed([(f"blocks.{n}.fc.weight", f"blocks.{n + 1}.fc.weight", (4, 4)) for n in range(4)])
    assert crossed([(f"blocks.{n}.fc.weight", f"blocks.{1 - n}.fc.weight", (4, 4)) for n in range(2)])


def test_what_people_call_the_projections() -> None:
    assert {role(name) for name in ("q", "query", "q_proj", "to_q", "wq", "q_lin", "query_proj")} == {"q"}
    assert role("norm1") == "norm1"
