"""Alerts and dashboard: each alert fires, and each metric, label value and section that they name exists."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from chart import CHART, ROOT, expect, expect_equal

# Metrics of others: the API server's (k8s.io/apiserver, pkg/admission/metrics) and kube-state-metrics'.
FOREIGN = {
    "apiserver_admission_webhook_admission_duration_seconds",
    "apiserver_admission_webhook_fail_open_count",
    "apiserver_admission_webhook_rejection_count",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas_available",
}
ON = {"metrics": {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}}
SERIES = re.compile(r"(?<![\w\"])([a-z]+_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')
ALERTS = ROOT / "tests/chart/alerts.yaml"


def promtool(tools, *arguments):
    done = subprocess.run([tools / "promtool", *arguments], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"promtool {' '.join(map(str, arguments[:2]))}: {done.stdout}{done.stderr}")


def alerts(tools, render):
    """Each alert fires in a test, and none on a quiet day; returns how many there are."""
    spec = render.get("PrometheusRule")["spec"]
    names = [rule["alert"] for group in spec["groups"] for rule in group["rules"]]
    cases = yaml.safe_load(ALERTS.read_text())
    checks = [check for test in cases["tests"] for check in test["alert_rule_test"]]
    firing = {check["alertname"] for check in checks if check.get("exp_alerts")}
    quiet = {check["alertname"] for check in checks if not check.get("exp_alerts")}
    expect_equal(firing, set(names), "alerts that a test makes fire")
    expect_equal(quiet, set(names), "alerts that a test keeps quiet")
    with tempfile.TemporaryDirectory() as directory:
        rules, tests = Path(directory, "rules.yaml"), Path(directory, "tests.yaml")
        rules.write_text(yaml.safe_dump(spec))
        tests.write_text(yaml.safe_dump({**cases, "rule_files": [rules.name]}))
        promtool(tools, "check", "rules", rules)
        promtool(tools, "test", "rules", tests)
    readme = (CHART / "README.md").read_text()
    for name in names:
        expect(f"\n### {name}\n" in readme, f"the README has no section on {name}, which its runbook_url points to")
    schema = json.loads((CHART / "values.schema.json").read_text())
    disabled = schema["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]["disabled"]
    expect_equal(set(disabled["items"]["enum"]), set(names), "alerts that the schema lets one disable")
    exist([rule["expr"] for group in spec["groups"] for rule in group["rules"]])
    return len(names)


def dashboard(tools, render):
    """It is JSON, and Prometheus understands each query; returns how many there are."""
    found = json.loads(render.get("ConfigMap", "outrigger-dashboard")["data"]["outrigger.json"])
    queries = [target["expr"] for panel in found["panels"] for target in panel.get("targets", [])]
    identities = [panel["id"] for panel in found["panels"]]
    expect_equal(len(set(identities)), len(identities), "different ids of panels")
    concrete = [query.replace("$__rate_interval", "5m").replace("$namespace", "x") for query in queries]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(concrete)]
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        promtool(tools, "check", "rules", "--lint=none", file.name)
    exist(concrete)
    return len(queries)


def exposition():
    """The metrics that the server exposes, as src/server/metrics.rs registers them and prometheus_client names them."""
    source = (ROOT / "src/server/metrics.rs").read_text()
    field_types = dict(re.findall(r"^    (?:pub\(crate\) )?(\w+): ([\w<>, ()-]+),$", source, re.MULTILINE))
    registrations = re.findall(
        r'\.register(?:_with_unit)?\(\s*"(\w+)",\s*"[^"]*",\s*(?:Unit::(\w+),\s*)?(\w+)(?:\.clone\(\)|::new)', source
    )
    expect_equal(len(registrations), source.count("registry.register"), "registrations that can be read in metrics.rs")
    names = set()
    for base, unit, field in registrations:
        name = "_".join(filter(None, ["outrigger", base, unit.lower()]))
        kind = "Info" if field == "Info" else field_types[field]
        if "Histogram" in kind:
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(name + ("_info" if kind == "Info" else "_total" if "Counter" in kind else ""))
    return names


def exist(queries):
    """Every metric is one that the server exposes, and every label value is in its source."""
    exposed = exposition()
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for query in queries:
        named = set(re.findall(r"(?:outrigger|apiserver|kube)_\w+", query))
        series = SERIES.findall(query)
        expect_equal(named, {name for name, _ in series}, f"metrics with braces in `{query}`")
        for name, matchers in series:
            if name.removesuffix("_bucket") in FOREIGN:
                continue
            expect(name in exposed, f"`{name}` is none of the server's metrics: {sorted(exposed)}")
            for label, values in MATCHER.findall(matchers):
                if label != "namespace":
                    for value in values.split("|"):
                        expect(f'"{value}"' in source, f'`{label}="{value}"` of `{name}` is nowhere in src/')
