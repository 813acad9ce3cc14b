"""Each switch, and what it must do: a sentence, values, and a question to the render.

The values are a file's, not `--set` arguments: the same, and readable.
"""

from chart import CLUSTER_SCOPED, NAMESPACE, expect, expect_equal

ALWAYS_EXCLUDED = ["kube-system", "kube-node-lease", "kube-public"]
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
EXISTING = {"mode": "existingSecret", "existingSecret": "shop-tls"}
CERT_MANAGER = {"tls": {"mode": "certManager"}}
INJECT = "cert-manager.io/inject-ca-from"


def rules(render, kind, name="outrigger"):
    return {
        (group, resource): (set(rule["verbs"]), rule.get("resourceNames"))
        for rule in render.get(kind, name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if (group, resource) != ("", "secrets") or "resourceNames" in rule
    }


def requirements(webhook):
    return webhook["namespaceSelector"]["matchExpressions"]


def selects(webhook, labels):
    """Whether a namespace with these labels is selected (apimachinery's labels.Requirement)."""
    operators = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(operators[r["operator"]](r["key"], r.get("values")) for r in requirements(webhook))


# --- questions -----------------------------------------------------------------------------------


def contract(render):
    """The defaults, as the server expects them."""
    webhooks = render.webhooks()
    expect_equal(set(webhooks), {"annotated", "namespace", "advise"}, "webhooks")
    for entry in "annotated", "namespace":
        webhook = webhooks[entry]
        expect(render.has("MutatingWebhookConfiguration", f"outrigger-{entry}"), f"no configuration for {entry}")
        found = {key: webhook[key] for key in webhook if key not in ("namespaceSelector", "matchConditions")}
        expected = {
            "name": f"{entry}.outrigger.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "NoneOnDryRun",
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "Never",
            "timeoutSeconds": 5,
            "clientConfig": {"service": {"name": "outrigger", "namespace": NAMESPACE, "path": f"/mutate/{entry}", "port": 443}},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["pods"],
                    "operations": ["CREATE"],
                    "scope": "Namespaced",
                }
            ],
        }
        expect_equal(found, expected, entry)
        expect_equal(
            [condition["name"] for condition in webhook["matchConditions"]],
            ["wants-outrigger" if entry == "annotated" else "not-annotated"],
            f"matchConditions of {entry}",
        )
    advise = webhooks["advise"]
    expect_equal(advise["failurePolicy"], "Ignore", "failurePolicy of advise")
    expect_equal(advise["sideEffects"], "None", "sideEffects of advise")
    expect_equal(advise["clientConfig"]["service"]["path"], "/advise", "path of advise")
    expect_equal(
        {resource for rule in advise["rules"] for resource in rule["resources"]},
        {"deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs"},
        "kinds of advise",
    )
    expect_equal(
        render.args()[:4] + [arg for arg in render.args() if arg.startswith("--tls")],
        ["serve", "--cluster", "--name=outrigger", f"--home={NAMESPACE}", "--tls=secret"],
        "arguments",
    )
    ports = {port["name"]: port["containerPort"] for port in render.container()["ports"]}
    expect_equal(ports, {"webhook": 8443, "admin": 8080}, "the container's ports")
    service = {port["port"]: port["targetPort"] for port in render.get("Service")["spec"]["ports"]}
    expect_equal(service, {443: "webhook", 8080: "admin"}, "the Service's ports")
    expect("command" not in render.container(), "the image's entrypoint is replaced")


def robust(render):
    """Two servers that are not lost together, and no more rights than needed."""
    spec = render.get("Deployment")["spec"]
    expect_equal(spec["replicas"], 2, "replicas")
    expect_equal(spec["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1}, "strategy")
    budget = render.get("PodDisruptionBudget")["spec"]
    expect_equal(budget["maxUnavailable"], 1, "the budget's maxUnavailable")
    expect_equal(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow", "the budget's policy")
    pod = render.pod()
    for constraint in pod["topologySpreadConstraints"]:
        expect_equal(constraint["matchLabelKeys"], ["pod-template-hash"], "matchLabelKeys")
        expect_equal(constraint["labelSelector"], spec["selector"], "labelSelector")
    expect_equal(len(pod["topologySpreadConstraints"]), 2, "topologySpreadConstraints")
    expect_equal(pod["priorityClassName"], "system-cluster-critical", "priorityClassName")
    (quota,) = render.kinds("ResourceQuota")
    expect_equal(quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"], [pod["priorityClassName"]], "quota")
    resources = render.container()["resources"]
    expect("cpu" not in resources["limits"], "there is a CPU limit")
    grace = {arg.split("=")[0]: arg.split("=")[1] for arg in render.args() if "=" in arg}
    stopping = int(grace["--shutdown-delay"].rstrip("s")) + int(grace["--drain-timeout"].rstrip("s"))
    expect(pod["terminationGracePeriodSeconds"] > stopping, "the kubelet kills the server before it has drained")
    expect_equal(pod["automountServiceAccountToken"], True, "the Pod's token")
    expect_equal(render.get("ServiceAccount")["automountServiceAccountToken"], False, "the account's token")
    probes = {name: render.container()[name]["httpGet"]["path"] for name in render.container() if name.endswith("Probe")}
    expect_equal(probes, {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}, "the probes")


def minimal_rights(render):
    """The whole of what the server may do."""
    watch = {"list", "watch"}
    expect_equal(
        rules(render, "ClusterRole"),
        {
            ("outrigger.dev", "patterns"): (watch, None),
            ("outrigger.dev", "patternbindings"): (watch, None),
            ("outrigger.dev", "patterns/status"): ({"patch"}, None),
            ("outrigger.dev", "patternbindings/status"): ({"patch"}, None),
            ("", "namespaces"): (watch | {"get"}, None),
            ("events.k8s.io", "events"): ({"create"}, None),
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): (
                watch | {"patch"},
                ["outrigger-annotated", "outrigger-namespace", "outrigger-cluster"],
            ),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): (
                watch | {"patch"},
                ["outrigger-advise"],
            ),
        },
        "the server's ClusterRole",
    )
    role = render.get("Role")
    expect_equal(
        [(set(rule["verbs"]), rule["resources"], rule.get("resourceNames")) for rule in role["rules"]],
        [({"create"}, ["secrets"], None), ({"get", "update"}, ["secrets"], ["outrigger-ca"])],
        "the server's Role",
    )
    expect_equal(role["metadata"]["namespace"], NAMESPACE, "the Role's namespace")


def aggregation(render):
    labels = {
        name: {key for key in role["metadata"]["labels"] if "aggregate-to" in key}
        for (kind, name), role in render.objects.items()
        if kind == "ClusterRole"
    }
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    expect_equal(
        labels,
        {"outrigger": set(), "outrigger-view": {prefix + "view"}, "outrigger-admin": {prefix + "admin"}},
        "aggregation",
    )
    verbs = {verb for rule in render.get("ClusterRole", "outrigger-view")["rules"] for verb in rule["verbs"]}
    expect_equal(verbs, {"get", "list", "watch"}, "verbs for `view`")


def binding_policy(render):
    policy = render.get("ValidatingAdmissionPolicy", "outrigger-bindings")["spec"]
    expect_equal(policy["failurePolicy"], "Fail", "the policy's failurePolicy")
    expect_equal(policy["matchConstraints"]["namespaceSelector"]["matchExpressions"][0]["values"], [NAMESPACE], "where")
    binding = render.get("ValidatingAdmissionPolicyBinding", "outrigger-bindings")["spec"]
    expect_equal(binding, {"policyName": "outrigger-bindings", "validationActions": ["Deny"]}, "the policy's binding")


def cluster_wide(render):
    cluster = render.webhooks()["cluster"]
    expect_equal(cluster["failurePolicy"], "Ignore", "failurePolicy of cluster")
    expect("--cluster-wide" in render.args(), "the server is not told")


def exclusive(render):
    """A Pod matches one entry at most, whatever its namespace is labelled, and exactly one where none is left out."""
    webhooks = render.webhooks()
    wants = {entry: webhooks[entry]["matchConditions"][0]["expression"] for entry in ("annotated", "namespace", "cluster")}
    for entry in "namespace", "cluster":
        expect_equal(wants[entry], f"!({wants['annotated']})", f"the condition of {entry}, which refuses what `annotated` takes")
    for injection in None, "enabled", "disabled", "something":
        for name in ["shop", *ALWAYS_EXCLUDED, NAMESPACE]:
            labels = {"kubernetes.io/metadata.name": name}
            if injection:
                labels["outrigger.dev/injection"] = injection
            called = {entry for entry in wants if selects(webhooks[entry], labels)}
            expected = {"annotated", "namespace" if injection == "enabled" else "cluster"} if name == "shop" else set()
            expect_equal(called, expected, f"entries for a namespace with {labels}")


def narrowed(render):
    for entry, webhook in render.webhooks().items():
        excluded = requirements(webhook)[0]
        expect_equal(excluded["values"], [*ALWAYS_EXCLUDED, NAMESPACE, "vault"], f"namespaces that {entry} leaves alone")
        expect({"key": "team", "operator": "Exists"} in requirements(webhook), f"{entry} has not the requirement")
        names = [condition["name"] for condition in webhook["matchConditions"]]
        # Written for Pods, it would be an error for a workload.
        expect_equal("no-jobs" in names, entry != "advise", f"the condition in {entry}")


def certificate_of_cert_manager(render):
    mounted(render, "outrigger-tls")
    (issuing, serving) = render.get("Certificate", "outrigger-issuer"), render.get("Certificate", "outrigger-tls")
    expect(issuing["spec"]["isCA"], "the CA is none")
    issuers = {issuer["metadata"]["name"]: issuer["spec"] for issuer in render.kinds("Issuer")}
    expect_equal(
        issuers,
        {"outrigger-self-signed": {"selfSigned": {}}, "outrigger-issuer": {"ca": {"secretName": issuing["spec"]["secretName"]}}},
        "issuers",
    )
    expect_equal(serving["spec"]["issuerRef"], {"name": "outrigger-issuer", "kind": "Issuer"}, "issuerRef")
    expect(f"outrigger.{NAMESPACE}.svc" in serving["spec"]["dnsNames"], "the name that the API server asks for is missing")
    # The server's own Secret, in the other mode: two writers of one name.
    expect("outrigger-ca" not in render.text, "`outrigger-ca` is the server's")
    for kind in "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
        for configuration in render.kinds(kind):
            annotations = configuration["metadata"]["annotations"]
            expect_equal(annotations[INJECT], f"{NAMESPACE}/outrigger-tls", "where the CA is injected from")
            expect("admissions.enforcer/disabled" in annotations, "other annotations are lost")


def own_issuer(render):
    expect_equal(render.kinds("Issuer"), [], "issuers")
    (certificate,) = render.kinds("Certificate")
    expect_equal(certificate["spec"]["issuerRef"], {"name": "corporate", "kind": "ClusterIssuer"}, "issuerRef")


def mounted(render, secret):
    """The certificate is a file, and the server may write nothing of the cluster's for it."""
    for arg in "--tls=files", "--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key":
        expect(arg in render.args(), f"`{arg}` is missing")
    expect_equal(render.pod()["volumes"], [{"name": "tls", "secret": {"secretName": secret}}], "volumes")
    expect_equal(render.container()["volumeMounts"][0]["mountPath"], "/tls", "where the certificate is mounted")
    expect(not render.has("Role"), "there is a Role for Secrets")
    expect(all("admissionregistration" not in group for group, _ in rules(render, "ClusterRole")), "webhooks may be written")


def ca_bundle(render):
    mounted(render, "shop-tls")
    bundles = {webhook["clientConfig"]["caBundle"] for webhook in render.webhooks().values()}
    expect_equal(bundles, {"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="}, "caBundle")


def openshift(render):
    mounted(render, "outrigger-tls")
    context = render.pod()["securityContext"]
    expect(not {"runAsUser", "runAsGroup"} & set(context), "a user is set")
    expect_equal(context["runAsNonRoot"], True, "runAsNonRoot")
    for kind in "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
        for configuration in render.kinds(kind):
            expect("service.beta.openshift.io/inject-cabundle" in configuration["metadata"]["annotations"], "no annotation")


def host_network(render):
    pod = render.pod()
    expect_equal((pod["hostNetwork"], pod["dnsPolicy"]), (True, "ClusterFirstWithHostNet"), "network")
    expect("--listen=[::]:10260" in render.args(), "the server is not told of its port")
    expect_equal(render.container()["ports"][0]["containerPort"], 10260, "the container's port")


def autoscaled(render):
    expect("replicas" not in render.get("Deployment")["spec"], "the Deployment has replicas, too")
    expect_equal(render.get("HorizontalPodAutoscaler")["spec"]["maxReplicas"], 9, "maxReplicas")


def network_policy(render):
    spec = render.get("NetworkPolicy")["spec"]
    webhook, admin = spec["ingress"]
    expect_equal(webhook, {"ports": [{"port": "webhook"}]}, "who may reach the webhook: everybody")
    expect_equal(admin["from"], [{"namespaceSelector": {}}], "who may read metrics")
    expect_equal([port["port"] for port in spec["egress"][0]["ports"]], [53, 53, 443, 6443], "egress")


def monitors(render):
    selector = render.get("Deployment")["spec"]["selector"]
    service_ports = [port["name"] for port in render.get("Service")["spec"]["ports"]]
    service_monitor, pod_monitor = render.get("ServiceMonitor")["spec"], render.get("PodMonitor")["spec"]
    expect(service_monitor["endpoints"][0]["port"] in service_ports, "the ServiceMonitor's port is none of the Service's")
    pod_ports = [port["name"] for port in render.container()["ports"]]
    expect(pod_monitor["podMetricsEndpoints"][0]["port"] in pod_ports, "the PodMonitor's port is none of the Pod's")
    for monitor in service_monitor, pod_monitor:
        expect_equal(monitor["selector"], selector, "selector")
    expect(selector["matchLabels"].items() <= render.get("Service")["metadata"]["labels"].items(), "it finds no Service")
    expect_equal(render.get("ServiceMonitor")["metadata"]["labels"]["release"], "prometheus", "label")


def some_alerts(render):
    (group,) = render.get("PrometheusRule")["spec"]["groups"]
    expect("OutriggerSlow" not in [rule["alert"] for rule in group["rules"]], "the alert is still there")
    expect(all(rule["labels"]["team"] == "platform" for rule in group["rules"]), "an alert has not the label")


def labels(render):
    deployment = render.get("Deployment")
    for found in deployment["metadata"]["labels"], deployment["spec"]["template"]["metadata"]["labels"]:
        expect_equal(found["cost-center"], "42", "the label")
        expect_equal(found["app.kubernetes.io/name"], "outrigger", "what the Pods are found by")
    expect_equal(deployment["metadata"]["labels"]["app.kubernetes.io/part-of"], "platform", "a label of the chart's")


def image(reference):
    def question(render):
        test = render.get("Pod", "outrigger-test")["spec"]["containers"][0]
        expect_equal((render.container()["image"], test["image"]), (reference, reference), "image")

    return question


def missing(*objects):
    def question(render):
        for kind, name in objects:
            expect(not render.has(kind, name), f"{kind} `{name}` is there")

    return question


def has_args(*args):
    def question(render):
        for arg in args:
            expect(arg in render.args(), f"`{arg}` is missing in {render.args()}")

    return question


def test_hook(render):
    hooks = [value for value in render.objects.values() if "helm.sh/hook" in value["metadata"].get("annotations", {})]
    expect_equal(sorted(hook["kind"] for hook in hooks), ["Pod", "Role", "RoleBinding", "ServiceAccount"], "hooks")
    for hook in hooks:
        expect_equal(hook["metadata"]["annotations"]["helm.sh/hook"], "test", "hook")
        where = "shop" if hook["kind"].startswith("Role") else NAMESPACE
        expect_equal(hook["metadata"]["namespace"], where, f"namespace of the test's {hook['kind']}")
    (container,) = render.get("Pod", "outrigger-test")["spec"]["containers"]
    expect_equal(container["args"], ["check", "--namespace=shop"], "arguments of the test")
    selector = render.get("Service")["spec"]["selector"].items()
    expect(not selector <= render.get("Pod", "outrigger-test")["metadata"]["labels"].items(), "the Service finds the test")
    expect_equal(rules(render, "Role", "outrigger-test"), {("", "pods"): ({"create"}, None)}, "rights of the test")


def client_ca(render):
    has_args("--client-ca=/client-ca/ca.crt", "--client-name=kube-apiserver", "--client-name=other")(render)
    expect_equal(render.pod()["volumes"], [{"name": "client-ca", "configMap": {"name": "api-server-ca"}}], "volumes")


CASES = [
    ("the defaults are the server's", {}, contract),
    ("the defaults survive the loss of a node", {}, robust),
    ("the defaults grant what is needed", {}, minimal_rights),
    ("patterns are for admins, reading is for all", {}, aggregation),
    ("no aggregation", {"rbac": {"aggregate": False}}, missing(("ClusterRole", "outrigger-view"), ("ClusterRole", "outrigger-admin"))),
    (
        "roles of somebody else's making",
        {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "webhook"}},
        missing(("ClusterRole", "outrigger"), ("Role", "outrigger"), ("ServiceAccount", "outrigger")),
    ),
    ("bindings stay in their namespace", {}, binding_policy),
    ("no policy", {"bindingPolicy": {"enabled": False}}, missing(("ValidatingAdmissionPolicy", "outrigger-bindings"))),
    ("cluster-wide", {"clusterWide": {"enabled": True}}, cluster_wide),
    ("one entry a Pod", {"clusterWide": {"enabled": True}}, exclusive),
    ("no advice", {"advise": {"enabled": False}}, missing(("ValidatingWebhookConfiguration", "outrigger-advise"))),
    (
        "webhooks can be narrowed",
        {
            "clusterWide": {"enabled": True},
            "webhooks": {
                "excludedNamespaces": ["vault", "kube-system"],
                "namespaceSelector": [{"key": "team", "operator": "Exists"}],
                "matchConditions": [{"name": "no-jobs", "expression": "true"}],
            },
        },
        narrowed,
    ),
    ("cert-manager", CERT_MANAGER, certificate_of_cert_manager),
    (
        "cert-manager with an issuer",
        {"tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "corporate", "kind": "ClusterIssuer"}}}},
        own_issuer,
    ),
    ("a Secret", {"tls": EXISTING}, lambda render: mounted(render, "shop-tls")),
    ("a Secret and its CA", {"tls": {**EXISTING, "caBundle": PEM}}, ca_bundle),
    (
        "OpenShift",
        {
            "podSecurityContext": {"runAsUser": None, "runAsGroup": None},
            "tls": {"mode": "existingSecret", "existingSecret": "outrigger-tls"},
            "service": {"annotations": {"service.beta.openshift.io/serving-cert-secret-name": "outrigger-tls"}},
            "webhooks": {"annotations": {"service.beta.openshift.io/inject-cabundle": "true"}},
        },
        openshift,
    ),
    ("lifetimes", {"tls": {"caLifetime": "90s", "leafLifetime": "15s"}}, has_args("--ca-lifetime=90s", "--leaf-lifetime=15s")),
    ("only the API server", {"tls": {"clientCA": {"configMap": "api-server-ca", "names": ["kube-apiserver", "other"]}}}, client_ca),
    ("the node's network", {"hostNetwork": True, "ports": {"webhook": 10260}}, host_network),
    ("autoscaling", {"autoscaling": {"enabled": True, "maxReplicas": 9}}, autoscaled),
    ("a NetworkPolicy", {"networkPolicy": {"enabled": True}}, network_policy),
    (
        "monitors",
        {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "podMonitor": {"enabled": True}}},
        monitors,
    ),
    (
        "alerts to choose from",
        {"metrics": {"prometheusRule": {"enabled": True, "disabled": ["OutriggerSlow"], "alertLabels": {"team": "platform"}}}},
        some_alerts,
    ),
    ("no priority, no quota", {"priorityClassName": ""}, missing(("ResourceQuota", "outrigger-critical-pods"))),
    (
        "labels everywhere",
        {"commonLabels": {"cost-center": "42", "app.kubernetes.io/part-of": "platform", "app.kubernetes.io/name": "mine"}},
        labels,
    ),
    ("a tag", {"image": {"tag": "edge"}}, image("ghcr.io/outrigger-dev/outrigger:edge")),
    (
        "a digest wins",
        {"image": {"tag": "edge", "digest": "sha256:" + "0" * 64}},
        image("ghcr.io/outrigger-dev/outrigger@sha256:" + "0" * 64),
    ),
    (
        "flags",
        {"imageRegistry": "registry.example/mirror", "extraArgs": ["--max-connections=9"], "log": {"level": "debug"}},
        has_args("--image-registry=registry.example/mirror", "--max-connections=9", "--log-level=debug"),
    ),
    ("the test", {"test": {"namespace": "shop"}}, test_hook),
]


# --- what holds for every render -----------------------------------------------------------------


def always(render, values):
    """Whatever the values."""
    gives_bundle = bool(values.get("tls", {}).get("caBundle"))
    expect("caBundle:" not in render.text or gives_bundle, "a caBundle is rendered")
    for secret in "-----BEGIN", "PRIVATE KEY", "LS0tLS1CRUdJTi":
        expect(secret not in render.text or gives_bundle, f"`{secret}` is rendered")
    expect_equal(render.kinds("Secret"), [], "Secrets")
    for (kind, name), value in render.objects.items():
        metadata = value["metadata"]
        expect_equal("namespace" in metadata, kind not in CLUSTER_SCOPED, f"{kind} `{name}` names a namespace")
        for strings in metadata.get("labels", {}), metadata.get("annotations", {}):
            expect(all(isinstance(text, str) for text in strings.values()), f"{kind} `{name}`: not strings: {strings}")
        nulls(value, f"{kind} `{name}`")
    for entry, webhook in render.webhooks().items():
        for name in [*ALWAYS_EXCLUDED, NAMESPACE]:
            labels = {"kubernetes.io/metadata.name": name, "outrigger.dev/injection": "enabled", "team": "x"}
            expect(not selects(webhook, labels), f"{entry} is called for {name}")
    for pod in render.pod(), render.get("Pod", "outrigger-test")["spec"]:
        restricted(pod)


def nulls(value, path):
    """A key without a value is a slip of a template."""
    expect(value is not None, f"{path} is null")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        nulls(item, f"{path}.{key}")


def restricted(pod):
    """Pod Security `restricted`, as far as it concerns these Pods."""
    expect(pod["securityContext"]["runAsNonRoot"] is True, "not runAsNonRoot")
    expect_equal(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, "seccompProfile")
    for container in pod["containers"]:
        context = container["securityContext"]
        expect_equal(context["allowPrivilegeEscalation"], False, "allowPrivilegeEscalation")
        expect_equal(context["capabilities"], {"drop": ["ALL"]}, "capabilities")
        expect_equal(context["readOnlyRootFilesystem"], True, "readOnlyRootFilesystem")
