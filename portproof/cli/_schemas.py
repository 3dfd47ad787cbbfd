"""The JSON documents that commands write, as JSON Schemas (draft 2020-12).

They are made from the very classes that the documents are made from. A change that takes a field away or changes what
it means raises the document's ``schema_version``; a new field does not.
"""

from __future__ import annotations

import importlib
from typing import Any

from portproof._errors import BadInput
from portproof.ports._hints import near

#: Name to the class that is written, and the schema's version.
DOCUMENTS = {
    "verify": "portproof.judge._report:Report",
    "agree": "portproof.agree._result:Agreement",
    "deploy": "portproof.deploy._result:Deployment",
    "faults-training": "portproof.lockstep._campaign:TrainingFaults",
    "train": "portproof.training._trained:Trained",
    "doctor": "portproof.cli._doctor:Findings",
    "map": "portproof.maps._find:FoundMap",
    "bench": "portproof.bench._result:BenchResult",
    "history": "portproof.render._history:Kept",
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's document.

    Raises:
        BadInput: no command writes such a document.
    """
    if name not in DOCUMENTS:
        raise BadInput(f"no document '{name}'; there are {', '.join(DOCUMENTS)}{near(name, DOCUMENTS) or '.'}")
    from pydantic import TypeAdapter

    module, _, attribute = DOCUMENTS[name].partition(":")
    schema = TypeAdapter(getattr(importlib.import_module(module), attribute)).json_schema(mode="serialization")
    if name not in ("bench", "history"):
        schema = _with_nulls(schema)
        schema["properties"] = {"schema_version": {"const": 1, "type": "integer"}, **schema["properties"]}
        schema["required"] = ["schema_version", *schema.get("required", [])]
    if name == "verify":
        _renamed(schema["$defs"]["Hop"], {"source": "from", "target": "to"})
    return {"$schema": _DIALECT, "$id": f"portproof/{name}.schema.json", **schema}


def _renamed(schema: dict[str, Any], names: dict[str, str]) -> None:
    schema["properties"] = {names.get(key, key): value for key, value in schema["properties"].items()}
    schema["required"] = [names.get(key, key) for key in schema["required"]]


def _with_nulls(schema: Any) -> Any:
    """Let every number be null: JSON has no words for NaN and infinity."""
    if isinstance(schema, list):
        return [_with_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {key: _with_nulls(value) for key, value in schema.items()}
    if walked.get("type") == "number":
        return {**walked, "type": ["number", "null"]}
    return walked
