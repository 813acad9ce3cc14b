"""The chart, rendered: what the other files ask their questions of."""

import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/outrigger"
NAMESPACE = "outrigger-system"
CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}


class Wrong(Exception):
    """The sentence that ends the run."""


def expect(condition, sentence):
    if not condition:
        raise Wrong(sentence)


def expect_equal(found, expected, what):
    expect(found == expected, f"{what}: expected {expected!r}, found {found!r}")


class Strict(yaml.SafeLoader):
    """YAML as the API server takes it: the same key twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        expect(not twice, f"the same key twice: {twice}, {node.start_mark}")
        return super().construct_mapping(node, deep)


def documents(text):
    return [document for document in yaml.load_all(text, Strict) if document]


class Render:
    """Objects by kind and name, hooks among them."""

    def __init__(self, text):
        self.text = text
        self.objects = {}
        for document in documents(text):
            key = document["kind"], document["metadata"]["name"]
            expect(key not in self.objects, f"{key} is rendered twice")
            self.objects[key] = document

    def get(self, kind, name="outrigger"):
        expect((kind, name) in self.objects, f"there is no {kind} `{name}`")
        return self.objects[kind, name]

    def has(self, kind, name="outrigger"):
        return (kind, name) in self.objects

    def kinds(self, kind):
        return [value for (found, _), value in self.objects.items() if found == kind]

    def webhooks(self):
        """The webhooks by the first part of their name: `annotated`, `namespace`, `cluster`, `advise`."""
        found = {}
        for kind in "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
            for configuration in self.kinds(kind):
                (webhook,) = configuration["webhooks"]
                found[webhook["name"].removesuffix(".outrigger.dev")] = webhook
        return found

    def pod(self):
        return self.get("Deployment")["spec"]["template"]["spec"]

    def container(self):
        (container,) = self.pod()["containers"]
        return container

    def args(self):
        return self.container()["args"]


class Helm:
    """One of the two programs."""

    def __init__(self, program):
        self.program = program

    def __str__(self):
        return self.program.name

    def run(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)

    def template(self, values=None, release="outrigger", namespace=NAMESPACE):
        """What `helm template` does, with `values` as a file of values."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values or {}, file)
            file.flush()
            return self.run("template", release, CHART, "--namespace", namespace, "--values", file.name)

    def render(self, values=None, **where):
        done = self.template(values, **where)
        expect(done.returncode == 0, f"{self} does not render {values}: {done.stderr}")
        return Render(done.stdout)

    def refuse(self, values):
        """The sentence with which the values are refused."""
        done = self.template(values)
        expect(done.returncode != 0, f"{self} takes {values}")
        return done.stderr
