"""Everything that can be known of the chart without a cluster. `tests/chart/run` calls it with the directory of the tools."""

import sys
from pathlib import Path

import yaml

import cases
import monitoring
import values
from chart import CHART, ROOT, Helm, Render, Wrong, documents, expect, expect_equal


def lint(helm):
    done = helm.run("lint", "--strict", CHART)
    expect(done.returncode == 0, f"{helm} lint: {done.stdout}{done.stderr}")


def reproducible(helm, other):
    """Two renders are the same to the byte, and both programs' are the same objects."""
    for base in [{}, *values.BASES]:
        first = helm.render(base)
        expect(first.text == helm.render(base).text, f"{helm}: two renders of {base} differ")
        expect_equal(other.render(base).objects, first.objects, f"what {other} renders of {base}")


def names(helm):
    """The name follows the release's."""
    for release, fields, expected in [
        ("outrigger", {}, "outrigger"),
        ("my-outrigger", {}, "my-outrigger"),
        ("shop", {}, "shop-outrigger"),
        ("shop", {"nameOverride": "injector"}, "shop-injector"),
        ("shop", {"fullnameOverride": "injector"}, "injector"),
    ]:
        render = helm.render({**fields, "clusterWide": {"enabled": True}}, release=release, namespace="elsewhere")
        for kind, suffix in [
            ("Deployment", ""),
            ("Service", ""),
            ("ServiceAccount", ""),
            ("PodDisruptionBudget", ""),
            ("MutatingWebhookConfiguration", "-annotated"),
            ("MutatingWebhookConfiguration", "-namespace"),
            ("MutatingWebhookConfiguration", "-cluster"),
            ("ValidatingWebhookConfiguration", "-advise"),
            ("ValidatingAdmissionPolicy", "-bindings"),
        ]:
            render.get(kind, expected + suffix)
        args = next(iter(render.get("Deployment", expected)["spec"]["template"]["spec"]["containers"]))["args"]
        expect(f"--name={expected}" in args and "--home=elsewhere" in args, f"{release}: the server is told {args}")


def definitions(helm):
    """Every file of definitions is rendered, kept unless told otherwise, and left out when told so."""
    files = sorted((CHART / "files/crds").glob("*.yaml"))
    expected = {}
    for path in files:
        (definition,) = documents(path.read_text())
        expected[definition["metadata"]["name"]] = definition["spec"]
    for keep in True, False:
        found = helm.render({"crds": {"keep": keep}}).kinds("CustomResourceDefinition")
        expect_equal({crd["metadata"]["name"]: crd["spec"] for crd in found}, expected, "definitions")
        for crd in found:
            policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            expect_equal(policy, "keep" if keep else None, "resource-policy")
    expect_equal(helm.render({"crds": {"enabled": False}}).kinds("CustomResourceDefinition"), [], "definitions")
    return len(files)


def metadata():
    """What Artifact Hub is told agrees with the rest of the chart."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = {key.removeprefix("artifacthub.io/"): yaml.safe_load(text) for key, text in chart["annotations"].items()}
    image = values.VALUES["image"]["repository"] + ":" + chart["appVersion"]
    expect_equal([found["image"] for found in told["images"]], [image], "images in Chart.yaml")
    defined = {yaml.safe_load(path.read_text())["metadata"]["name"] for path in (CHART / "files/crds").glob("*.yaml")}
    expect_equal({found["name"] for found in told["crds"]}, defined, "definitions in Chart.yaml")


def notes(helm):
    """What `helm install` says: short, and loud where the namespace is a wrong one."""
    for namespace, loud in [("outrigger-system", False), ("default", True), ("kube-system", True)]:
        arguments = ["install", "outrigger", CHART, "--namespace", namespace, "--dry-run=client", "--set", "clusterWide.enabled=true"]
        done = helm.run(*arguments)
        expect(done.returncode == 0, f"{helm} install --dry-run: {done.stderr}")
        text = done.stdout.partition("\nNOTES:\n")[2]
        expect("outrigger.dev/redis-metrics" in text and "helm test outrigger" in text, f"{helm} says only: {text}")
        expect_equal("WARNING" in text, loud, f"a warning in {namespace}")
        expect(len(text.splitlines()) < 40, f"the notes are {len(text.splitlines())} lines long")


def plain_manifests(helm):
    """They are the chart's objects without Helm's marks: the namespace first, then the definitions."""
    for file, fields in [("install.yaml", {}), ("install-cluster-wide.yaml", {"clusterWide": {"enabled": True}})]:
        text = (ROOT / "manifests" / file).read_text()
        kinds = [document["kind"] for document in documents(text)]
        expect_equal(kinds[0], "Namespace", f"the first object of {file}")
        count = kinds.count("CustomResourceDefinition")
        expect_equal(kinds[1 : 1 + count], ["CustomResourceDefinition"] * count, f"what follows in {file}")
        expect("helm" not in text.lower(), f"{file} mentions Helm")
        found, rendered = Render(text).objects, helm.render(fields).objects
        of_chart = {key for key, value in rendered.items() if "helm.sh/hook" not in value["metadata"].get("annotations", {})}
        expect_equal(set(found) - {("Namespace", "outrigger-system")}, of_chart, f"objects of {file}")
        for key in of_chart:
            expect_equal(found[key].get("spec"), rendered[key].get("spec"), f"spec of {key} in {file}")


def main():
    tools = Path(sys.argv[1])
    helm, helm3 = Helm(tools / "helm"), Helm(tools / "helm3")
    for each in helm, helm3:
        lint(each)
        names(each)
        for fields, words in values.REFUSED:
            sentence = each.refuse(fields)
            for word in words:
                expect(word in sentence, f"{each} refuses {fields} without saying `{word}`: {sentence}")
        print(f"ok: {each} lints, names, and refuses {len(values.REFUSED)} wrong values with a sentence")
        for sentence, fields, question in cases.CASES:
            try:
                render = each.render(fields)
                cases.always(render, fields)
                question(render)
            except Wrong as wrong:
                raise Wrong(f"{each}, {sentence}: {wrong}") from None
        print(f"ok: {each} renders {len(cases.CASES)} cases as they should be")
    metadata()
    # helm 3 wants a cluster for it.
    notes(helm)
    print("ok: Chart.yaml tells the truth, the notes are short, and loud in a wrong namespace")
    reproducible(helm, helm3)
    print("ok: the same values render the same objects, by either program")
    values.complete()
    print(f"ok: the schema is complete, and each of {values.alive(helm)} values does something")
    print(f"ok: {definitions(helm)} definitions are rendered, kept and left out as told")
    render = helm.render(monitoring.ON)
    print(f"ok: each of {monitoring.alerts(tools, render)} alerts fires when it should, and has a section in the README")
    print(f"ok: {monitoring.dashboard(tools, render)} queries of the dashboard ask for metrics that there are")
    plain_manifests(helm)
    print("ok: manifests/ has the chart's objects, without Helm's marks")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
