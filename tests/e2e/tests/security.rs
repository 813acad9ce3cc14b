//! What a tenant cannot do. He has `admin` in one namespace: he changes no Pod of another, lifts no Pod Security, reads nobody else's
//! Secret, and avoids nothing that is Required.

use kube::{Client, Config};
use outrigger_e2e::{BUSYBOX, Cluster, HOME, Home, Space, binding, calm, kubectl, pattern, pod};
use outrigger_e2e::{run_with, sidecars, until};
use serde_json::{Value, json};

/// A namespace as somebody meets it who has this role in it, and nothing anywhere else.
pub async fn with_role(space: &Space, role: &str) -> Space {
    let user = format!("{role}-of-{}", space.name);
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    space.apply(&bound).await.expect("a role");
    until("the role to count", async || {
        let asks = ["auth", "can-i", "get", "patterns", "--as", &user];
        space.kubectl(&asks).await.ok()
    })
    .await;
    elsewhere(&user, &space.name).await
}

/// Another namespace, in a user's name.
pub async fn elsewhere(user: &str, name: &str) -> Space {
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info.impersonate = Some(user.to_owned());
    let client = Client::try_from(config).expect("a client");
    Cluster { client }.existing(name)
}

/// A table, row by row.
pub fn rows<const CELLS: usize>(
    table: &'static str,
) -> impl Iterator<Item = [&'static str; CELLS]> {
    table.trim().lines().map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        cells.try_into().expect("that many cells")
    })
}

/// A user makes an object, and the servers go by it.
async fn defines(user: &Space, space: &Space, object: &Value) {
    user.create(object).await.expect("allowed");
    space.define(object).await;
}

fn denied(entry: &str, sentence: &str) -> Result<Value, String> {
    Err(format!(
        "admission webhook \"{entry}.outrigger.dev\" denied the request: {sentence}"
    ))
}

/// What a helper is told, in a Pod that was not made for good.
fn word(pod: &Value, helper: &str) -> Value {
    let containers = pod["spec"]["initContainers"].as_array().expect("some");
    let helper = containers.iter().find(|it| it["name"] == helper);
    helper.expect("the helper")["env"][0]["value"].clone()
}

/// A binding of Outrigger's own for one namespace.
fn required(name: &str, pattern: &str, namespace: &str) -> Value {
    let only = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let spec = json!({"enforcement": "Required", "match": {"namespaceSelector": only}});
    binding(name, pattern, spec)
}

#[tokio::test]
async fn a_tenant_reaches_nobody_else_s_pods() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let enabled = json!({"labels": {"outrigger.dev/injection": "enabled"}});
    let own = cluster.space("sec-own", enabled.clone()).await;
    // Nor does the neighbour reach for what is the tenant's.
    let mut offers = enabled;
    offers["annotations"] = json!({"sidecar.outrigger.dev/leak": ""});
    let other = cluster.space("sec-other", offers).await;
    let tenant = with_role(&own, "admin").await;
    defines(&tenant, &own, &pattern("leak")).await;
    let all = json!({"enforcement": "Required"});
    defines(&tenant, &own, &binding("leak", "leak", all)).await;

    let plain = pod("plain", json!({}));
    let mine = own.dry_run(&plain).await.expect("a Pod");
    assert_eq!(sidecars(&mine), ["leak"]);
    let theirs = other.dry_run(&plain).await.expect("a Pod");
    assert_eq!(sidecars(&theirs), [] as [&str; 0]);
    let asks = pod("asks", json!({"sidecar.outrigger.dev/leak": ""}));
    let nowhere = "annotation `sidecar.outrigger.dev/leak`: there is no pattern `leak`; `outrigger catalog list` shows those there are";
    assert_eq!(other.dry_run(&asks).await, denied("annotated", nowhere));

    let all = json!({"match": {"namespaceSelector": {}}});
    let wide = binding("wide", "leak", all);
    assert_eq!(
        tenant.create(&wide).await.expect_err("a refusal"),
        "patternbindings.outrigger.dev \"wide\" is forbidden: ValidatingAdmissionPolicy 'outrigger-bindings' with binding 'outrigger-bindings' denied request: `spec.match.namespaceSelector` is for PatternBindings in the namespace `outrigger-system`; anywhere else a binding applies to its own namespace only"
    );
    for namespace in [other.name.as_str(), HOME] {
        let there = elsewhere("admin-of-sec-own", namespace).await;
        for (object, plural) in [
            (pattern("leak"), "patterns"),
            (binding("leak", "leak", json!({})), "patternbindings"),
        ] {
            assert_eq!(
                there.dry_run(&object).await,
                Err(format!(
                    "{plural}.outrigger.dev is forbidden: User \"admin-of-sec-own\" cannot create resource \"{plural}\" in API group \"outrigger.dev\" in the namespace \"{namespace}\""
                ))
            );
        }
    }
}

#[tokio::test]
async fn a_tenant_s_namesake_is_for_his_namespace_and_never_for_what_is_required() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let own = cluster.space("sec-namesake", json!({})).await;
    let other = cluster.space("sec-namesake-other", json!({})).await;
    let tenant = with_role(&own, "admin").await;
    let home = Home::new(&cluster);
    let named = |name: &str, role: &str, word: &str| {
        let mut pattern = pattern(name);
        pattern["spec"]["role"] = role.into();
        pattern["spec"]["params"]["properties"]["word"]["default"] = word.into();
        pattern
    };
    let metrics = named("redis-metrics", "adapter", "tenant");
    defines(&tenant, &own, &metrics).await;
    home.define(&named("sec-shared", "sidecar", "home")).await;
    let shared = named("sec-shared", "sidecar", "tenant");
    defines(&tenant, &own, &shared).await;

    let asks = pod(
        "asks",
        json!({"adapter.outrigger.dev/redis-metrics": "", "sidecar.outrigger.dev/sec-shared": ""}),
    );
    let mine = own.dry_run(&asks).await.expect("a Pod");
    assert_eq!(word(&mine, "redis-metrics"), "tenant");
    assert_eq!(word(&mine, "sec-shared"), "tenant");
    let theirs = other.dry_run(&asks).await.expect("a Pod");
    assert_ne!(word(&theirs, "redis-metrics"), "tenant");
    assert_eq!(word(&theirs, "sec-shared"), "home");

    // The platform's binding means the platform's pattern, with the platform's parameters.
    let shout = json!({"enforcement": "Required", "params": {"word": "tenant"}, "podMaySet": ["word", "into", "override"]});
    defines(&tenant, &own, &binding("aaa", "sec-shared", shout)).await;
    home.define(&required("sec-shared", "sec-shared", &own.name))
        .await;
    let sets = json!({"sidecar.outrigger.dev/sec-shared": "{word: pod}"});
    for pod in [pod("plain", json!({})), pod("sets", sets)] {
        let mine = own.dry_run(&pod).await.expect("a Pod");
        assert_eq!(word(&mine, "sec-shared"), "home");
    }
}

/// What a pattern might say, and what Pod Security says of the Pod then.
const POD_SECURITY: &str = r#"
/spec/containers/0/securityContext | {"privileged": true} | privileged (container "sly" must not set securityContext.privileged=true), allowPrivilegeEscalation != false (container "sly" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "sly" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "sly" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "sly" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
/spec/containers/0/securityContext/runAsUser | 0 | runAsUser=0 (container "sly" must not set runAsUser=0)
/spec/containers/0/securityContext/capabilities/add | ["NET_ADMIN"] | unrestricted capabilities (container "sly" must not include "NET_ADMIN" in securityContext.capabilities.add)
/spec/containers/0/ports | [{"containerPort": 80, "hostPort": 80}] | hostPort (container "sly" uses hostPort 80)
/spec/volumes | [{"name": "node", "hostPath": {"path": "/"}}] | restricted volume types (volume "outrigger-sly-node" uses restricted volume type "hostPath")
/spec/podMetadata | {"annotations": {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}} | forbidden AppArmor profiles (container "app" and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/app="unconfined"")
"#;

#[tokio::test]
async fn pod_security_judges_whatever_a_pattern_adds() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let labels = json!({"labels": {"pod-security.kubernetes.io/enforce": "restricted"}});
    let space = cluster.space("sec-restricted", labels).await;
    let tenant = with_role(&space, "admin").await;
    let mut asks = pod("asks", json!({"sidecar.outrigger.dev/sly": ""}));
    asks["spec"]["containers"][0]["securityContext"] =
        pattern("sly")["spec"]["containers"][0]["securityContext"].clone();
    defines(&tenant, &space, &pattern("sly")).await;
    tenant.dry_run(&asks).await.expect("nothing to refuse");

    for [at, value, refused] in rows(POD_SECURITY) {
        let mut sly = pattern("sly");
        let (parent, field) = at.rsplit_once('/').expect("a path");
        let value: Value = serde_json::from_str(value).expect("JSON");
        sly.pointer_mut(parent).expect("a mapping")[field] = value;
        space.define(&sly).await;
        let refused = format!(
            "pods \"asks\" is forbidden: violates PodSecurity \"restricted:latest\": {refused}"
        );
        assert_eq!(tenant.dry_run(&asks).await, Err(refused));
    }

    // What is the Pod's own affair, a pattern has no word for.
    for field in ["hostNetwork", "hostPID", "securityContext"] {
        let mut sly = pattern("sly");
        sly["spec"][field] = json!(true);
        let refused = space.apply(&sly).await.expect_err("a refusal");
        let unknown = format!("strict decoding error: unknown field \"spec.{field}\"");
        assert!(refused.contains(&unknown), "{refused}");
    }
}

#[tokio::test]
async fn a_pattern_means_the_secrets_of_its_pod_s_namespace() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let own = cluster.space("sec-secrets", json!({})).await;
    let other = cluster.space("sec-secrets-other", json!({})).await;
    let tenant = with_role(&own, "admin").await;
    for (space, name, word) in [
        (&tenant, "shared", "mine"),
        (&other, "shared", "theirs"),
        (&other, "theirs", "theirs"),
    ] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"word": word},
        });
        space.create(&secret).await.expect("a Secret");
    }
    let mut reader = pattern("reader");
    reader["spec"]["params"]["properties"]["word"] = json!({"type": "string", "default": "shared"});
    reader["spec"]["containers"][0]["env"] = json!([
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "{{ params.word }}", "key": "word"}}},
    ]);
    defines(&tenant, &own, &reader).await;

    let asks = async |name: &str, params: &str| {
        let asks = pod(name, json!({"sidecar.outrigger.dev/reader": params}));
        tenant.create(&asks).await.expect("a Pod");
    };
    asks("mine", "").await;
    own.ready("mine").await;
    let read = ["exec", "mine", "-c=reader", "--", "sh", "-c", "echo $WORD"];
    assert_eq!(own.kubectl(&read).await.expect("a word"), "mine\n");

    asks("theirs", "{word: theirs}").await;
    let why = until("the kubelet to look for the Secret", async || {
        let pod = own.get("v1", "Pod", "theirs").await?;
        let waiting = &pod["status"]["initContainerStatuses"][0]["state"]["waiting"];
        let why = waiting["message"].as_str()?.to_owned();
        (waiting["reason"] == "CreateContainerConfigError").then_some(why)
    })
    .await;
    assert_eq!(why, "secret \"theirs\" not found");
}

/// What an annotation might say, and the denial.
const TOO_MUCH: &str = r#"
{override: {securityContext: {privileged: true}}} | `override.securityContext` is not allowed by the pattern `sleepy`, expected `image`, `imagePullPolicy`, `resources` or `env`
{override: {volumeMounts: [{name: x, mountPath: /x}]}} | `override.volumeMounts` is not allowed by the pattern `sleepy`, expected `image`, `imagePullPolicy`, `resources` or `env`
{override: {restartPolicy: Never}} | `override.restartPolicy` is not allowed by the pattern `sleepy`, expected `image`, `imagePullPolicy`, `resources` or `env`
{words: x} | unknown parameter `words`: did you mean `word`?
{word: {valueFrom: x}} | parameter `word` is the mapping `{"valueFrom":"x"}`, expected a string
{into: sleepy} | `into` names `sleepy`, which is no app container of this Pod, expected `app`, `main` or `all`
"#;

#[tokio::test]
async fn an_annotation_sets_what_the_pattern_lets_it_and_no_more() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("sec-override", json!({})).await;
    let tenant = with_role(&space, "admin").await;
    space.define(&pattern("sleepy")).await;
    let asks = async |value: &str| {
        tenant
            .dry_run(&pod("asks", json!({"sidecar.outrigger.dev/sleepy": value})))
            .await
    };
    let given = asks("{word: x, override: {image: 'localhost/pause:1'}}").await;
    assert_eq!(word(&given.expect("a Pod"), "sleepy"), "x");
    for [value, sentence] in rows(TOO_MUCH) {
        let sentence = format!("annotation `sidecar.outrigger.dev/sleepy`: {sentence}");
        assert_eq!(asks(value).await, denied("annotated", &sentence));
    }
}

/// A Pod that bears a status which says that `sec-sleepy` is in it, as `record` says.
fn claims(mut pod: Value, record: Value) -> Value {
    let status = json!({"version": 1, "instances": {"sec-sleepy": record}});
    pod["metadata"]["annotations"]["outrigger.dev/status"] = status.to_string().into();
    pod
}

#[tokio::test]
async fn a_forged_status_is_no_helper() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let home = Home::new(&cluster);
    home.define(&pattern("sec-sleepy")).await;
    let enabled = json!({"labels": {"outrigger.dev/injection": "enabled"}});
    for (entry, name, metadata) in [
        ("namespace", "sec-forged", enabled),
        ("cluster", "sec-forged-wide", json!({})),
    ] {
        let space = cluster.space(name, metadata).await;
        let tenant = with_role(&space, "admin").await;
        home.define(&required("sec-forged", "sec-sleepy", name))
            .await;
        let plain = pod("plain", json!({}));
        let honest = tenant.dry_run(&plain).await.expect("a Pod");
        assert_eq!(sidecars(&honest), ["sec-sleepy"]);
        let status = honest["metadata"]["annotations"]["outrigger.dev/status"].as_str();
        let status: Value = serde_json::from_str(status.expect("a status")).expect("JSON");
        let record = &status["instances"]["sec-sleepy"];
        let helped = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "helped"},
            "spec": {"containers": plain["spec"]["containers"], "initContainers": honest["spec"]["initContainers"], "volumes": honest["spec"]["volumes"]},
        });
        let again = tenant
            .dry_run(&claims(helped.clone(), record.clone()))
            .await;
        assert_eq!(sidecars(&again.expect("a Pod")), ["sec-sleepy"]);

        let with = |field: &str, value: Value| {
            let mut pod = helped.clone();
            pod["spec"]["initContainers"][0][field] = value;
            pod
        };
        let mut bare = helped.clone();
        bare["spec"]["initContainers"] = json!([]);
        let mut alone = with("volumeMounts", json!([]));
        alone["spec"]["volumes"] = json!([]);
        let word = json!([{"name": "WORD", "value": "no"}]);
        // A Pod that brings one of our volumes along comes in by the first entry, wherever it is.
        for (pod, entry) in [
            (plain.clone(), entry),
            (alone, entry),
            (bare, "annotated"),
            (with("image", json!("localhost/pause:1")), "annotated"),
            (with("command", json!(["true"])), "annotated"),
            (with("args", json!(["0"])), "annotated"),
            (with("env", word), "annotated"),
            (with("restartPolicy", json!(null)), "annotated"),
            (with("securityContext", json!({})), "annotated"),
        ] {
            let sentence = "`sec-sleepy` is required, and container `sec-sleepy` is not as it would be injected: take everything out with `outrigger uninject`, or remove annotation `outrigger.dev/status` and what it records";
            assert_eq!(
                tenant.dry_run(&claims(pod, record.clone())).await,
                denied(entry, sentence)
            );
        }
        let strange = claims(plain, json!({"containers": ["app"]}));
        let sentence = "annotation `outrigger.dev/status` says that `sec-sleepy` added `app`, which it cannot have: remove the annotation";
        assert_eq!(tenant.dry_run(&strange).await, denied(entry, sentence));
    }
}

#[tokio::test]
async fn a_forged_status_excuses_no_container() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let home = Home::new(&cluster);
    let space = cluster.space("sec-targets", json!({})).await;
    let tenant = with_role(&space, "admin").await;
    let mut giving = pattern("sec-giving");
    giving["spec"]["app"] = json!({"env": [{"name": "PROXY", "value": "on"}]});
    home.define(&giving).await;
    let mut all = required("sec-giving", "sec-giving", &space.name);
    all["spec"]["params"] = json!({"into": "all"});
    home.define(&all).await;

    let mut two = pod("two", json!({}));
    let mut second = two["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    let containers = two["spec"]["containers"].as_array_mut();
    containers.expect("a list").push(second);
    let mut made = tenant.dry_run(&two).await.expect("a Pod");
    let given = |pod: &Value, container: usize| pod["spec"]["containers"][container]["env"].clone();
    assert_eq!(given(&made, 1), json!([{"name": "PROXY", "value": "on"}]));

    // Without it, and with a status in which it was never meant for the second.
    made["spec"]["containers"][1]["env"] = json!([]);
    let status = &mut made["metadata"]["annotations"]["outrigger.dev/status"];
    let mut forged: Value = serde_json::from_str(status.as_str().expect("text")).expect("JSON");
    forged["instances"]["sec-giving"]["targets"] = json!(["app"]);
    forged["instances"]["sec-giving"]["env"] = json!({"app": ["PROXY"]});
    *status = forged.to_string().into();
    let again = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": made["spec"],
        "metadata": {"name": "two", "annotations": made["metadata"]["annotations"]},
    });
    let made = tenant.dry_run(&again).await.expect("a Pod");
    assert_eq!(given(&made, 1), json!([{"name": "PROXY", "value": "on"}]));
}

#[tokio::test]
async fn no_pod_runs_without_what_is_required_whatever_it_says() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let home = Home::new(&cluster);
    let space = cluster.space("sec-required", json!({})).await;
    let tenant = with_role(&space, "admin").await;
    let mut must = pattern("sec-must");
    must["spec"]["files"] = json!({"greeting": "hello\n"});
    home.define(&must).await;
    home.define(&required("sec-must", "sec-must", &space.name))
        .await;

    for (value, label) in [
        ("false", "disabled"),
        ("disabled", "enabled"),
        ("{word: mine, override: {image: mine}}", "disabled"),
    ] {
        let mut out = pod("out", json!({"sidecar.outrigger.dev/sec-must": value}));
        out["metadata"]["labels"] = json!({"outrigger.dev/injection": label});
        let made = tenant.dry_run(&out).await.expect("a Pod");
        assert_eq!(sidecars(&made), ["sec-must"]);
        assert_eq!(word(&made, "sec-must"), "hello");
        assert_eq!(made["spec"]["initContainers"][0]["image"], BUSYBOX);
    }
    let mut dressed = pod("dressed", json!({}));
    dressed["spec"]["initContainers"] = json!([
        {"name": "sec-must", "image": BUSYBOX, "command": ["sleep", "100000"], "restartPolicy": "Always"},
    ]);
    let there = "binding `outrigger-system/sec-must`: the Pod has a container `sec-must` already: rename it, or ask for `sec-must.2` instead";
    assert_eq!(tenant.dry_run(&dressed).await, denied("cluster", there));
    let file = json!({"files.outrigger.dev/sec-must.greeting": "mine"});
    let filed = pod("filed", file);
    let text = "binding `outrigger-system/sec-must`: annotation `files.outrigger.dev/sec-must.greeting` is there with another text: remove it, Outrigger writes it";
    assert_eq!(tenant.dry_run(&filed).await, denied("cluster", text));
    // Any way that makes a Pod is a way in.
    let args = "--as=admin-of-sec-required -n=sec-required apply --server-side --dry-run=server -o=json -f=-";
    let args: Vec<_> = args.split(' ').collect();
    let applied = run_with("kubectl", &args, Some(&pod("applied", json!({})))).await;
    let applied: Value = serde_json::from_str(&applied.expect("a Pod").stdout).expect("JSON");
    assert_eq!(sidecars(&applied), ["sec-must"]);

    // What no kubelet here would run gets nothing: let it say so, it does not run.
    let node = ["get", "nodes", "-o=jsonpath={.items[0].metadata.name}"];
    let node = kubectl(&node).await.expect("a node");
    let on_node = |name: &str, field: &str, value: Value| {
        let mut pod = pod(name, json!({}));
        pod["spec"]["nodeName"] = node.clone().into();
        pod["spec"][field] = value;
        pod
    };
    let os = json!({"name": "windows"});
    let selector = json!({"kubernetes.io/os": "windows"});
    for (name, field, value, reason) in [
        ("os", "os", os, "PodOSNotSupported"),
        ("selector", "nodeSelector", selector, "NodeAffinity"),
    ] {
        let windows = on_node(name, field, value);
        tenant.create(&windows).await.expect("a Pod");
        let refused = until("the kubelet to refuse the Pod", async || {
            let pod = space.get("v1", "Pod", name).await?;
            (pod["status"]["phase"] == "Failed").then(|| pod["status"]["reason"].clone())
        })
        .await;
        assert_eq!(refused, reason);
    }
    let mut mirror = on_node("mirror", "restartPolicy", json!("Always"));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    tenant.create(&mirror).await.expect("a Pod");
    until("the kubelet to delete the Pod", async || {
        let pod = space.get("v1", "Pod", "mirror").await;
        pod.is_none().then_some(())
    })
    .await;
    let events = space.list("v1", "Event").await;
    let started =
        |event: &Value| event["involvedObject"]["name"] == "mirror" && event["reason"] == "Started";
    assert_eq!(events.iter().filter(|event| started(event)).count(), 0);
}

/// What somebody might say of his namespace.
const WAYS_OUT: &str = r#"
out | {"labels": {"outrigger.dev/injection": "disabled"}}
in | {"labels": {"outrigger.dev/injection": "enabled"}}
declines | {"annotations": {"sidecar.outrigger.dev/sec-labels": "false"}}
sets | {"annotations": {"sidecar.outrigger.dev/sec-labels": "{word: mine}"}}
hides | {"labels": {"kubernetes.io/metadata.name": "kube-system"}}
"#;

#[tokio::test]
async fn a_namespace_s_labels_and_annotations_avoid_nothing_required() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let home = Home::new(&cluster);
    let space = cluster
        .space("sec-labels", json!({"annotations": {"step": "none"}}))
        .await;
    // The helper says what the servers know of the namespace.
    let mut telling = pattern("sec-labels");
    telling["spec"]["containers"][0]["env"] = json!([
        {"name": "WORD", "value": "{{ params.word }}"},
        {"name": "STEP", "value": "{{ namespace.annotations.step if namespace.annotations else '' }}"},
    ]);
    home.define(&telling).await;
    home.define(&required("sec-labels", "sec-labels", &space.name))
        .await;
    with_role(&space, "admin").await;
    let edit = async |metadata: &Value| {
        let patch = format!("--patch={}", json!({"metadata": metadata}));
        let user = "--as=admin-of-sec-labels";
        kubectl(&[user, "patch", "namespace", "sec-labels", &patch]).await
    };
    assert_eq!(
        edit(&json!({"annotations": {"step": "forbidden"}})).await,
        Err("Error from server (Forbidden): namespaces \"sec-labels\" is forbidden: User \"admin-of-sec-labels\" cannot patch resource \"namespaces\" in API group \"\" in the namespace \"sec-labels\"\n".to_owned())
    );

    // Whoever may do more with his namespace may not do this.
    let verbs = "create role labels --verb=get,patch --resource=namespaces";
    let subject = "create rolebinding labels --role=labels --user=admin-of-sec-labels";
    for command in [verbs, subject] {
        let words: Vec<_> = command.split(' ').collect();
        space.kubectl(&words).await.expect("made");
    }
    for [step, metadata] in rows(WAYS_OUT) {
        let mut metadata: Value = serde_json::from_str(metadata).expect("JSON");
        metadata["annotations"]["step"] = step.into();
        until("the right to count", async || edit(&metadata).await.ok()).await;
        let env = until("the servers to know of it", async || {
            let made = space.dry_run(&pod("plain", json!({}))).await;
            let env = made.expect("a Pod")["spec"]["initContainers"][0]["env"].take();
            (env[1]["value"] == step).then_some(env)
        })
        .await;
        assert_eq!(env[0]["value"], "hello");
    }
}
