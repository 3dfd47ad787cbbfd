"""Hard pairs: the map is found without a name, proven, and is the one that a person would write."""

import pytest

from portproof import Port
from portproof.convert._account import Account
from portproof.maps._find import FoundMap, find_map
from portproof.ports._locate import Located, Project
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from tests.maps.pairs import EXCHANGED, GATES, PAIRS, PYRAMID_APART, UNSAYABLE

#: Where several maps are right, and which tensors the proof says nothing about.
EITHER = {"sum", "maximum", "product", "recurrent", "tied_beside"}


def found(port: Port, *, accept_crossed: bool = False) -> tuple[FoundMap, dict[str, str]]:
    """Return the map that is found without the port's own, and the row of every torch tensor under the port's own."""
    bare = Port(port.name, port.paddle, port.torch, port.inputs, port.outputs)
    with Sessions(Located(bare, None, Project())) as sessions:
        sides = Sides(sessions)
        made = find_map(sides, accept_crossed=accept_crossed)
        account = sides.use(port.weights)
    assert not account.problems, account.problems
    return made, rows_of(account)


def rows_of(account: Account) -> dict[str, str]:
    """Return what becomes of every torch tensor."""
    return {name: str((row.paddle, row.axes, row.sizes, row.groups)) for row in account.rows for name in row.torch}


@pytest.mark.parametrize("port", PAIRS, ids=lambda port: port.name)
def test_the_map_of_a_hard_pair_is_found_and_proven(port: Port) -> None:
    made, true = found(port)
    assert made.holds, made
    rows = rows_of(made.account)
    assert not made.account.problems
    assert rows.keys() == true.keys()
    if port.name not in EITHER:
        assert rows == true
    assert made.rules <= max(sum(map(len, (port.weights.rename, port.weights.ignore, port.weights.transforms))), 1)


def test_a_map_against_the_names_is_shown_and_not_taken() -> None:
    made, _ = found(EXCHANGED)
    assert (made.verdict, made.exit_code) == ("crossed", 3)
    assert {(one.torch, one.paddle) for one in made.crossed} == {
        (f"{a}{i}", f"{b}{i}") for i in range(3) for a, b in ("qk", "kq")
    }
    taken, _ = found(EXCHANGED, accept_crossed=True)
    assert taken.holds
    assert taken.weights.rename == {"q{n}": "k{n}", "k{n}": "q{n}"}


def test_of_a_wrong_port_the_layout_is_taken_that_is_far_nearer_than_others() -> None:
    made, true = found(PYRAMID_APART)
    assert (made.verdict, rows_of(made.account)) == ("differs", true)
    assert made.passes < 60, "every layout of every stage was tried with those of the others"


def test_what_no_map_can_say_is_said_and_nothing_is_taken() -> None:
    made = _bare(UNSAYABLE)
    assert (made.verdict, made.exit_code) == ("undecided", 3)
    assert made.undecided[0].reason == "paddle 'q' has its axes in an order that no reshape of 'q' has"


@pytest.mark.parametrize(("port", "order"), GATES, ids=lambda value: value.name if isinstance(value, Port) else "")
def test_gates_in_another_order_are_found_and_named(port: Port, order: str) -> None:
    made = _bare(port)
    assert made.verdict == "undecided"
    assert made.same
    said = {group.reason for group in made.undecided}
    assert {f"torch '{name}': its {len(order.split())} parts are those of '{name}' in the order {order}: gates, say, "
            "which no map moves" for name in ("inputs.weight", "hidden.weight")} <= said  # fmt: skip


def _bare(port: Port) -> FoundMap:
    """Return the map that is found of a port without one."""
    with Sessions(Located(Port(port.name, port.paddle, port.torch, port.inputs), None, Project())) as sessions:
        return find_map(Sides(sessions))
