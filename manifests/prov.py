"""The provenance of a sample as PROV-JSON (W3C member submission of 24 April 2013, https://www.w3.org/submissions/prov-json/).

Written as plain values, since all that it takes is the right keys. A release holds no times, so activities have none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

NAMESPACE = "urn:silver:"


def prov(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `manifests.provenance.provenance` gives, as PROV-JSON.

    Entities: the source, each model, the release, the sample. Activities: the stages, each informed by the one before; the first uses the source,
    those that have models use them, the last generates the sample. Agents: Silver and the packages that worked for it.
    """
    sample, source, release = (
        _id("sample", found["key"]),
        _id("source", found["source"].get("source_id", "source")),
        _id("release", found["release"]["version"]),
    )
    entities: dict[str, Any] = {
        source: {"prov:type": _name("silver:Recording")} | _values(found["source"]) | _location(found["source"].get("source_uri")),
        release: {"prov:type": _name("prov:Collection")} | _values(found["release"]),
        sample: {"prov:type": _name("silver:Sample"), "silver:key": found["key"]} | _values(found["place"] | found["label"]),
    }
    agents: dict[str, Any] = {"silver:agent/silver": {"prov:type": _name("prov:SoftwareAgent"), "prov:label": "Silver"}}
    document: dict[str, Any] = {
        "prefix": {"silver": NAMESPACE},
        "entity": entities,
        "activity": {},
        "agent": agents,
        "used": {},
        "wasInformedBy": {},
        "wasAssociatedWith": {},
        "actedOnBehalfOf": {},
        "wasDerivedFrom": {"_:derivation": {"prov:generatedEntity": sample, "prov:usedEntity": source}},
        "hadMember": {"_:member": {"prov:collection": release, "prov:entity": sample}},
    }
    for package, version in found["software"].items():
        agent = _id("agent", f"{package}-{version}")
        agents[agent] = {"prov:type": _name("prov:SoftwareAgent"), "prov:label": f"{package} {version}"}
        document["actedOnBehalfOf"][f"_:{len(document['actedOnBehalfOf'])}delegation"] = {
            "prov:delegate": agent,
            "prov:responsible": "silver:agent/silver",
        }
    before = None
    for number, stage in enumerate(found["stages"]):
        activity = _id("stage", f"{number}-{stage['stage']}")
        document["activity"][activity] = {"prov:type": _name("silver:Stage"), "prov:label": stage["stage"]} | _values(
            {name: value for name, value in stage.items() if name != "stage"}
        )
        document["wasAssociatedWith"][f"_:association{number}"] = {"prov:activity": activity, "prov:agent": "silver:agent/silver"}
        if before is None:
            document["used"]["_:source"] = {"prov:activity": activity, "prov:entity": source}
        else:
            document["wasInformedBy"][f"_:order{number}"] = {"prov:informed": activity, "prov:informant": before}
        if identity := stage.get("identity"):
            model = _id("model", f"{number}-{stage['stage']}")
            entities[model] = {"prov:type": _name("silver:Model"), "prov:label": str(identity.get("model", ", ".join(identity)))} | _values(
                identity
            )
            document["used"][f"_:model{number}"] = {"prov:activity": activity, "prov:entity": model}
        before = activity
    if before is not None:
        document["wasGeneratedBy"] = {"_:generation": {"prov:entity": sample, "prov:activity": before}}
    return {name: value for name, value in document.items() if value}


def _id(kind: str, name: str) -> str:
    """A qualified name; what a name may not have in it is percent-encoded."""
    return f"silver:{kind}/{quote(str(name), safe='')}"


def _name(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}


def _location(uri: str | None) -> dict[str, Any]:
    return {"prov:location": {"$": uri, "type": "xsd:anyURI"}} if uri else {}


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes: plain values as they are, nested ones as JSON text, nothing for null."""
    plain = {
        name: value if isinstance(value, str | int | float | bool) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in values.items()
        if value is not None
    }
    return {f"silver:{name}": value for name, value in plain.items()}
