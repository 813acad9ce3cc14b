//! The patterns of the helper's programs, as their pages in `docs/patterns/` say: each page's example is applied as it stands there,
//! and does what the page promises.

use std::time::Instant;

use outrigger_e2e::{Cluster, Space, calm, is_ready, outrigger, run_text, sidecars, until};
use serde_json::{Value, json};

/// The objects under "Try it" of a pattern's page.
fn example(pattern: &str) -> Vec<Value> {
    let page = format!(
        "{}/../../docs/patterns/{pattern}.md",
        env!("CARGO_MANIFEST_DIR")
    );
    let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (_, part) = page.split_once("\n## Try it\n").expect("an example");
    let (_, text) = part.split_once("```yaml\n").expect("YAML");
    let (text, _) = text.split_once("\n```\n").expect("its end");
    serde_saphyr::from_multiple(text).expect("YAML")
}

/// A namespace in which a pattern's example stands.
async fn stand(cluster: &Cluster, pattern: &str) -> Space {
    let space = cluster.space(&format!("page-{pattern}"), json!({})).await;
    for object in example(pattern) {
        space.create(&object).await.expect("created");
    }
    space
}

/// The Pods of the app with this label, once so many are ready.
async fn pods(space: &Space, app: &str, count: usize) -> Vec<String> {
    until(&format!("{count} Pods of {app} to be ready"), async || {
        let ready: Vec<_> = space
            .list("v1", "Pod")
            .await
            .into_iter()
            .filter(|pod| {
                pod["metadata"]["labels"]["app"] == app
                    && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .filter(is_ready)
            .map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned())
            .collect();
        (ready.len() == count).then_some(ready)
    })
    .await
}

async fn logs(space: &Space, pod: &str, container: &str) -> String {
    space
        .kubectl(&["logs", pod, "--container", container])
        .await
        .unwrap_or_default()
}

async fn exec(
    space: &Space,
    pod: &str,
    container: &str,
    command: &[&str],
) -> Result<String, String> {
    space
        .kubectl(&[&["exec", pod, "--container", container, "--"], command].concat())
        .await
}

/// The Pods whose app was last told that it leads.
async fn leaders(space: &Space, pods: &[String]) -> Vec<String> {
    let mut leaders = Vec::new();
    for pod in pods {
        let said = logs(space, pod, "app").await;
        let last: Option<Value> = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        if last.is_some_and(|last| last["leader"] == true) {
            leaders.push(pod.clone());
        }
    }
    leaders
}

#[tokio::test]
async fn one_of_the_reports_leads_and_another_follows_it() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = cluster.space("page-leader-elector", json!({})).await;
    let role = outrigger(&["catalog", "show", "leader-elector", "-o", "rbac"])
        .await
        .expect("a Role")
        .stdout;
    run_text(
        "kubectl",
        &["--namespace", &space.name, "apply", "-f", "-"],
        &role,
    )
    .await
    .expect("applied");
    for object in example("leader-elector") {
        space.create(&object).await.expect("created");
    }
    let all = pods(&space, "reports", 3).await;
    let one = async || match leaders(&space, &pods(&space, "reports", 3).await)
        .await
        .as_slice()
    {
        [leader] => Some(leader.clone()),
        _ => None,
    };
    let leader = until("one leader", one).await;
    assert!(all.contains(&leader));
    // The app sees no token; the elector has one of its own.
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let object = space.get("v1", "Pod", &leader).await.expect("a Pod");
    assert_eq!(sidecars(&object), ["leader-elector"]);
    let volumes = object["spec"]["initContainers"][0]["volumeMounts"].to_string();
    assert!(
        volumes.contains("outrigger-leader-elector-token"),
        "{volumes} {token}"
    );

    let start = Instant::now();
    space
        .kubectl(&["delete", "pod", &leader, "--wait=false"])
        .await
        .expect("deleted");
    let next = until("another leader", async || {
        one().await.filter(|next| *next != leader)
    })
    .await;
    eprintln!(
        "{next} leads {:?} after its predecessor was deleted",
        start.elapsed()
    );
}

#[tokio::test]
async fn every_picture_gets_its_thumbnail() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = stand(&cluster, "work-queue").await;
    let workers = pods(&space, "thumbnails", 2).await;
    let add = "for i in $(seq 1 200); do echo XADD pictures '*' item picture-$i; done | redis-cli > /dev/null";
    exec(&space, "redis", "redis", &["sh", "-c", add])
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    // One of them ends in between: it finishes what it has, and the other does the rest.
    space
        .kubectl(&["delete", "pod", &workers[0], "--wait=false"])
        .await
        .expect("deleted");
    let pending = async || {
        let text = exec(
            &space,
            "redis",
            "redis",
            &["redis-cli", "XINFO", "GROUPS", "pictures"],
        )
        .await
        .ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let after = |name: &str| {
            lines
                .iter()
                .position(|line| *line == name)
                .and_then(|at| lines.get(at + 1))
                .copied()
        };
        (after("pending") == Some("0") && after("lag") == Some("0")).then_some(())
    };
    until("the queue to be empty", pending).await;
    let dead = exec(
        &space,
        "redis",
        "redis",
        &["redis-cli", "XLEN", "pictures:dead"],
    )
    .await;
    assert_eq!(dead.as_deref().map(str::trim), Ok("0"));
    let said = logs(&space, &workers[1], "app").await;
    assert!(said.contains("attempt 1 of "), "{said}");
}

#[tokio::test]
async fn a_search_asks_all_leaves() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = stand(&cluster, "scatter-gather").await;
    pods(&space, "search-leaf", 3).await;
    space.ready("search").await;
    let search = async || {
        let command = [
            "sh",
            "-c",
            "wget -q -S -O- 'http://127.0.0.1:8090/search?q=oar' 2>&1",
        ];
        exec(&space, "search", "app", &command).await.ok()
    };
    let answer = until("all three leaves", async || {
        search()
            .await
            .filter(|answer| answer.contains("x-leaves: 3/3"))
    })
    .await;
    let body = answer.lines().last().expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["total"], 3);
    let scores: Vec<_> = body["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .map(|hit| hit["score"].as_u64())
        .collect();
    assert!(
        scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b),
        "{body}"
    );
    space
        .kubectl(&["scale", "deployment/search-leaf", "--replicas", "2"])
        .await
        .expect("scaled");
    until("two leaves", async || {
        search()
            .await
            .filter(|answer| answer.contains("x-leaves: 2/2"))
    })
    .await;
}

#[tokio::test]
async fn a_slow_command_is_in_the_logs() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = stand(&cluster, "redis-slowlog").await;
    space.ready("sessions").await;
    // The helper begins with what is slow from now on, as of its first look.
    until("the first look", async || {
        let metrics = [
            "--raw",
            &format!(
                "/api/v1/namespaces/{}/pods/sessions:17000/proxy/metrics",
                space.name
            ),
        ];
        let said = space
            .kubectl(&[&["get"], &metrics[..]].concat())
            .await
            .ok()?;
        said.contains("redis_slowlog_up 1").then_some(())
    })
    .await;
    let script = "for i = 1, 5000000 do end";
    exec(
        &space,
        "sessions",
        "redis",
        &["redis-cli", "EVAL", script, "1", "user:7"],
    )
    .await
    .expect("an answer");
    let line: Value = until("the slow command's line", async || {
        let said = logs(&space, "sessions", "redis-slowlog").await;
        let mut lines = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["command"] == "EVAL")
    })
    .await;
    assert_eq!(line["key"], "user:7");
    assert_eq!(line["args"], Value::Null);
    assert!(line["duration_us"].as_u64() > Some(1000), "{line}");
}

/// Waits until a Pod whose containers all run is, or is not, ready.
async fn until_ready(space: &Space, pod: &str, ready: bool) {
    let what = if ready { "ready" } else { "not ready" };
    until(&format!("{pod} to run and be {what}"), async || {
        let object = space.get("v1", "Pod", pod).await?;
        let app = &object["status"]["containerStatuses"][0];
        (app["ready"] == true && is_ready(&object) == ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_is_ready_while_its_query_is_answered() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = stand(&cluster, "sql-health").await;
    until_ready(&space, "orders", false).await;
    let sql = async |text: &str| {
        exec(
            &space,
            "orders",
            "postgres",
            &["psql", "-U", "postgres", "-c", text],
        )
        .await
    };
    until("a table", async || {
        sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)")
            .await
            .ok()
    })
    .await;
    until_ready(&space, "orders", true).await;
    let lock = "BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(15); COMMIT";
    let (locked, ()) = tokio::join!(sql(lock), until_ready(&space, "orders", false));
    locked.expect("a lock");
    until_ready(&space, "orders", true).await;
}

#[tokio::test]
async fn an_app_is_ready_when_what_it_needs_is_there() {
    let _calm = calm().await;
    let cluster = Cluster::connect().await;
    let space = stand(&cluster, "readiness").await;
    until_ready(&space, "shop", false).await;
    exec(&space, "shop", "app", &["touch", "/data/warm"])
        .await
        .expect("touched");
    until_ready(&space, "shop", true).await;
    exec(&space, "shop", "app", &["rm", "/data/warm"])
        .await
        .expect("removed");
    until_ready(&space, "shop", false).await;
    let said = logs(&space, "shop", "readiness").await;
    assert!(
        said.contains("`/data/warm`: No such file or directory"),
        "{said}"
    );
}
