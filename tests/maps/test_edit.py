"""A map put into the file that declares its port."""

import pytest

from portproof.maps._edit import edited

MAP = 'WeightMap({\n    "a": "b",\n}, transforms={\n    "c": Reshape(),\n})'
HEAD = "from portproof import Input, Port\n\n"


def port_of(text: str) -> object:
    scope: dict[str, object] = {}
    exec(text, scope)
    return scope["PORT"]


@pytest.mark.parametrize(
    "declared",
    [
        'PORT = Port(\n    "p", paddle="m:a", torch="m:b",\n    inputs={"x": Input(("batch", 3))},\n)\n',
        'PORT = Port("p", "m:a", "m:b", {"x": Input(("batch", 3))})\n',
        'PORT: Port = Port(\n    "p", "m:a", "m:b", {"x": Input(("batch", 3))}  # a cömment, more\n)\nOTHER = 1\n',
        'PORT = Port(\n    "p", "m:a", "m:b", {"x": Input(("batch", 3))},\n    weights=None,\n    outputs=("y",),\n)\n',
    ],
)
def test_a_declaration_gets_the_map_and_stays_what_it_was(declared: str) -> None:
    changed = edited(HEAD + declared, "PORT", MAP)
    assert changed is not None
    port = port_of(changed)
    assert dict(port.weights.rename) == {"a": "b"}  # type: ignore[attr-defined]
    assert list(port.inputs) == ["x"]  # type: ignore[attr-defined]
    assert edited(changed, "PORT", MAP) == changed


@pytest.mark.parametrize("text", [f"{HEAD}PORT = make()\n", f"{HEAD}OTHER = Port()\n", "PORT = Port(name='p')\n"])
def test_what_is_declared_otherwise_is_left_alone(text: str) -> None:
    assert edited(text, "PORT", MAP) is None
