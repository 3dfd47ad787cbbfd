"""Faults planted while the map is unknown: a wrong map is never called proven, and most maps are found all the same."""

import pytest

from parity_tests.evidence.maps import with_faults
from portproof import find_port
from tests.maps.pairs import PAIRS


def test_no_wrong_map_is_proven_and_the_right_one_is_found_under_ten_kinds_of_fault() -> None:
    told = with_faults(find_port("lenet").port, 10, seed=1)
    assert len({said for said, *_ in told}) == 10
    assert not any(wrong for *_, wrong in told), told
    assert sum(right for _, _, right, _ in told) >= 9, told
    assert all(verdict in ("differs", "undecided") for _, verdict, _, _ in told), told


@pytest.mark.slow
def test_two_hundred_faults_in_models_whose_names_say_nothing() -> None:
    names = ("attention", "towers", "shared", "branches", "gate_up", "deep", "swiglu", "experts", "grouped_query")
    ports = [find_port("lenet").port, *(port for port in PAIRS if port.name in names)]
    told = [(port.name, *one) for port in ports for one in with_faults(port, 20, seed=2)]
    assert len(told) == 200
    assert not any(wrong for *_, wrong in told), told
    right = sum(right for *_, right, _ in told)
    print(f"{right} of {len(told)} maps are the right one")
    assert right >= 0.9 * len(told), [one for one in told if not one[3]]
