//! Rights: the server's are the few that it needs, and people's are those of their role.

use std::collections::BTreeSet;

use outrigger_e2e::{Cluster, HOME, NAME, Space, binding, calm, kubectl, pattern, pod};
use serde_json::json;

use crate::security::{elsewhere, rows, with_role};

/// What somebody may do in a namespace, as `kubectl auth can-i --list` says: resource, paths, names, verbs.
async fn rights(user: &str, namespace: &str) -> BTreeSet<String> {
    let who = format!("--as={user}");
    let list = ["auth", "can-i", "--list", "--no-headers", &who];
    let list = [&list[..], &["--namespace", namespace]].concat();
    let list = kubectl(&list).await.expect("a list");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    list.lines().map(words).collect()
}

/// The same, without what everybody may do who is somebody.
async fn own_rights(user: &str, namespace: &str, nobody: &Space) -> Vec<String> {
    let anybody = format!("system:serviceaccount:{}:default", nobody.name);
    let common = rights(&anybody, namespace).await;
    let all = rights(user, namespace).await;
    all.difference(&common).cloned().collect()
}

/// The server's service account.
fn server() -> String {
    format!("system:serviceaccount:{HOME}:{NAME}")
}

const EVERYWHERE: [&str; 10] = [
    "events.events.k8s.io [] [] [create]",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [outrigger-annotated] [list watch patch]",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [outrigger-cluster] [list watch patch]",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io [] [outrigger-namespace] [list watch patch]",
    "namespaces [] [] [get list watch]",
    "patternbindings.outrigger.dev [] [] [list watch]",
    "patternbindings.outrigger.dev/status [] [] [patch]",
    "patterns.outrigger.dev [] [] [list watch]",
    "patterns.outrigger.dev/status [] [] [patch]",
    "validatingwebhookconfigurations.admissionregistration.k8s.io [] [outrigger-advise] [list watch patch]",
];
const AT_HOME: [&str; 2] = [
    "secrets [] [] [create]",
    "secrets [] [outrigger-ca] [get update]",
];

#[tokio::test]
async fn the_server_may_do_what_is_on_the_list_and_nothing_else() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("rbac-server", json!({})).await;
    assert_eq!(own_rights(&server(), &space.name, &space).await, EVERYWHERE);
    let mut at_home = [&EVERYWHERE[..], &AT_HOME].concat();
    at_home.sort_unstable();
    assert_eq!(own_rights(&server(), HOME, &space).await, at_home);
}

/// What the server might type, of what it is refused what, and where.
const REFUSED: &str = r#"
get secret theirs | secrets "theirs" | get resource "secrets" | rbac-reads
get secrets | secrets | list resource "secrets" | rbac-reads
get secrets | secrets | list resource "secrets" | outrigger-system
get secret other | secrets "other" | get resource "secrets" | outrigger-system
delete secret outrigger-ca | secrets "outrigger-ca" | delete resource "secrets" | outrigger-system
get pods | pods | list resource "pods" | rbac-reads
get pods | pods | list resource "pods" | outrigger-system
get configmaps | configmaps | list resource "configmaps" | outrigger-system
"#;

#[tokio::test]
async fn the_server_reads_no_secret_but_its_own_and_no_pod() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("rbac-reads", json!({})).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}});
    space.create(&secret).await.expect("a Secret");
    let who = format!("--as={}", server());
    let ca = ["get", "secret", "outrigger-ca", "-o=name", "-n", HOME, &who];
    let ca = kubectl(&ca).await;
    assert_eq!(ca.as_deref(), Ok("secret/outrigger-ca\n"));

    let subject = format!("User \"{}\" cannot", server());
    for [args, object, what, namespace] in rows(REFUSED) {
        let args: Vec<_> = args.split(' ').chain(["-n", namespace, &who]).collect();
        assert_eq!(
            kubectl(&args).await,
            Err(format!(
                "Error from server (Forbidden): {object} is forbidden: {subject} {what} in API group \"\" in the namespace \"{namespace}\"\n"
            ))
        );
    }
    let there = elsewhere(&server(), &space.name).await;
    assert_eq!(
        there.create(&pod("made", json!({}))).await,
        Err(format!(
            "pods is forbidden: {subject} create resource \"pods\" in API group \"\" in the namespace \"rbac-reads\""
        ))
    );
}

#[tokio::test]
async fn view_and_edit_read_and_admin_writes_in_its_namespace_only() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let own = cluster.space("rbac-people", json!({})).await;
    let other = cluster.space("rbac-people-other", json!({})).await;
    let ours = async |user: &str, namespace: &str| {
        let mut ours = rights(user, namespace).await;
        ours.retain(|right| right.contains("outrigger.dev"));
        ours.into_iter().collect::<Vec<_>>()
    };
    for (role, verbs) in [
        ("view", "get list watch"),
        ("edit", "get list watch"),
        (
            "admin",
            "get list watch create update patch delete deletecollection",
        ),
    ] {
        with_role(&own, role).await;
        let user = format!("{role}-of-rbac-people");
        let kinds = ["patternbindings", "patterns"];
        let both = kinds.map(|kind| format!("{kind}.outrigger.dev [] [] [{verbs}]"));
        assert_eq!(ours(&user, &own.name).await, both);
        assert_eq!(ours(&user, &other.name).await, [] as [&str; 0]);
        assert_eq!(ours(&user, HOME).await, [] as [&str; 0]);
    }
}

#[tokio::test]
async fn edit_is_refused_what_admin_is_allowed() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("rbac-writes", json!({})).await;
    let edit = with_role(&space, "edit").await;
    let admin = with_role(&space, "admin").await;
    for (object, kind, plural) in [
        (pattern("sleepy"), "Pattern", "patterns"),
        (
            binding("sleepy", "sleepy", json!({})),
            "PatternBinding",
            "patternbindings",
        ),
    ] {
        let refused = format!(
            "{plural}.outrigger.dev is forbidden: User \"edit-of-rbac-writes\" cannot create resource \"{plural}\" in API group \"outrigger.dev\" in the namespace \"rbac-writes\""
        );
        assert_eq!(edit.create(&object).await, Err(refused));
        admin.create(&object).await.expect("allowed");
        let seen = edit.get("outrigger.dev/v1alpha1", kind, "sleepy").await;
        assert!(seen.is_some());
        let delete = ["delete", plural, "sleepy", "--as=admin-of-rbac-writes"];
        space.kubectl(&delete).await.expect("allowed");
    }
}
