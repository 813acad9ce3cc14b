"""values.yaml and its schema: they name the same values, each of which does something."""

import json

import yaml

from chart import CHART, expect, expect_equal

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# For umbrella charts: Helm hands these to every chart of one.
UMBRELLA = {"global", "enabled"}

# Together they render everything that there is.
ALL = {
    "clusterWide": {"enabled": True},
    "imageRegistry": "registry.example",
    "networkPolicy": {"enabled": True},
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")},
    "hostNetwork": True,
}
BASES = [
    {**ALL, "tls": {"clientCA": {"configMap": "ca", "names": ["a"]}}},
    {**ALL, "tls": {"mode": "certManager"}, "autoscaling": {"enabled": True}},
    {**ALL, "tls": {"mode": "existingSecret", "existingSecret": "tls"}},
]

# Another value than the default, where its type and schema do not say one.
OTHER = {
    "image.digest": "sha256:" + "1" * 64,
    "imagePullSecrets": [{"name": "pull"}],
    "webhooks.namespaceSelector": [{"key": "team", "operator": "Exists"}],
    "webhooks.matchConditions": [{"name": "more", "expression": "true"}],
    "tls.caBundle": "-----BEGIN CERTIFICATE-----\n",
    "tls.certManager.issuerRef": {"name": "corporate"},
    "tls.clientCA.names": ["b"],
    "strategy": {"type": "Recreate"},
    "priorityClassName": "mine",
    "resources": {"requests": {"cpu": "1"}},
    "affinity": {"nodeAffinity": {}},
    "podSecurityContext": {"fsGroup": 1},
    "securityContext": {"privileged": False},
    "extraArgs": ["--more"],
    "webhooks.excludedNamespaces": ["vault"],
    "networkPolicy.apiServerPorts": [16443],
    "metrics.prometheusRule.disabled": ["OutriggerSlow"],
}


def leaves(values, path=""):
    """The values that the schema describes, as dotted paths."""
    for key, value in values.items():
        here = f"{path}{key}"
        # An object that is empty by default is a value as a whole.
        if value and "properties" in at(here):
            yield from leaves(value, f"{here}.")
        else:
            yield here


def at(path):
    schema = SCHEMA
    for key in path.split("."):
        schema = schema["properties"].get(key, {})
        if "$ref" in schema:
            schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def other(path, value):
    schema = at(path)
    if path in OTHER:
        return OTHER[path]
    if "enum" in schema:
        return next(option for option in schema["enum"] if option not in (value, ""))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "7m" if "pattern" in schema else "something"
    if isinstance(value, list):
        return [{"name": "something"}]
    return {"something": "else"}


def complete():
    """The schema has what values.yaml has, and is closed wherever it names properties."""

    def walk(values, schema, path):
        expect_equal(schema["additionalProperties"], False, f"additionalProperties of {path or 'the schema'}")
        extra = UMBRELLA if not path else set()
        if values or not path:
            expect_equal(set(schema["properties"]) - extra, set(values), f"the schema's properties of {path or 'values'}")
        for key, value in values.items():
            if "properties" in schema["properties"][key]:
                walk(value, schema["properties"][key], f"{path}{key}.")

    walk(VALUES, SCHEMA, "")


def alive(helm):
    """Each value changes some render; returns how many there are."""
    plain = [helm.render(base).text for base in BASES]

    def changes(path, base, text):
        effective = merged(VALUES, base)
        for key in path.split("."):
            effective = effective[key]
        # A changed `tls.mode` may miss what that mode needs: being refused is doing something.
        return helm.template(merged(base, nested(path, other(path, effective)))).stdout != text

    paths = list(leaves(VALUES))
    for path in paths:
        alive = any(changes(path, base, text) for base, text in zip(BASES, plain))
        expect(alive, f"`{path}` does nothing: no render changes with it")
    return len(paths)


# Values, and what their refusal must say.
REFUSED = [
    ({"replicas": 3}, ["replicas", "not allowed"]),
    ({"tls": {"secretName": "x"}}, ["/tls", "secretName", "not allowed"]),
    ({"replicaCount": "two"}, ["/replicaCount", "got string, want integer"]),
    ({"commonLabels": {"a": True}}, ["/commonLabels/a", "got boolean, want string"]),
    ({"tls": {"mode": "self"}}, ["/tls/mode", "'secret', 'certManager', 'existingSecret'"]),
    ({"webhooks": {"timeoutSeconds": 31}}, ["/webhooks/timeoutSeconds", "maximum"]),
    ({"tls": {"leafLifetime": "a week"}}, ["/tls/leafLifetime", "pattern"]),
    ({"metrics": {"prometheusRule": {"disabled": ["OutriggerSlo"]}}}, ["/metrics/prometheusRule/disabled/0"]),
    ({"tls": {"mode": "existingSecret"}}, ["tls.mode is `existingSecret`: name the Secret in tls.existingSecret"]),
    (
        {"tls": {"existingSecret": "mine"}},
        ["tls.existingSecret and tls.caBundle do nothing unless tls.mode is `existingSecret`"],
    ),
    (
        {"tls": {"clientCA": {"configMap": "ca"}}},
        ["tls.clientCA.configMap is set: name in tls.clientCA.names whose certificates to accept"],
    ),
]
