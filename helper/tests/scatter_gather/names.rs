//! Leaves by name: addresses that come and go, and a name server that fails, is silent, or knows nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::leaf::Leaves;
use super::name_server::{NameServer, Trouble};
use super::{Answer, Root, usual};
use crate::support::until;

/// What the Service is called within its namespace, and what its full name is.
const SHORT: &str = "search-leaf";
const FULL: &str = "search-leaf.shop.svc.cluster.local";
/// The least that records can live.
const TTL: Duration = Duration::from_secs(1);
/// How much later than that a request may still go to the leaves of before.
const LITTLE: Duration = Duration::from_millis(500);

async fn name_server(leaves: &Leaves) -> NameServer {
    let name_server = NameServer::start(leaves.ip(253)).await;
    name_server.set(FULL, 1, &leaves.ips());
    name_server
}

/// Asks until the answer says so, and how long that took.
async fn until_leaves(root: &Root, leaves: &str) -> (Answer, Duration) {
    let begin = Instant::now();
    let ask = async || Some(root.get("/").await).filter(|answer| answer.leaves() == leaves);
    let answer = until(&format!("leaves to be {leaves}"), ask).await;
    (answer, begin.elapsed())
}

/// Waits until the name server has been asked something new.
async fn until_asked(root: &Root, name_server: &NameServer) {
    let before = name_server.asked().len();
    until("the name server to be asked again", async || {
        root.get("/").await;
        (name_server.asked().len() > before).then_some(())
    })
    .await;
}

/// Requests one after the other; at the end, how many there were and which of them were not answered with 200.
fn flow(root: &Root, end: Arc<Notify>) -> JoinHandle<(usize, Vec<u16>)> {
    let (client, url) = (root.client.clone(), root.url.clone());
    tokio::spawn(async move {
        let (mut all, mut bad) = (0, Vec::new());
        let mut ended = std::pin::pin!(end.notified());
        loop {
            tokio::select! {
                biased;
                () = &mut ended => return (all, bad),
                answer = client.get(&url).send() => {
                    let status = answer.expect("an answer").status().as_u16();
                    all += 1;
                    bad.extend((status != 200).then_some(status));
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_addresses_of_the_name() {
    let mut leaves = Leaves::start(4).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    let answer = root.get("/").await;
    assert_eq!(answer.json(), usual(&[1, 2, 3, 4]));
    let host = format!("{SHORT}:{}", leaves.port);
    assert_eq!(leaves[0].seen()[0].header("host"), Some(host.as_str()));

    let end = Arc::new(Notify::new());
    let flow = flow(&root, end.clone());
    leaves.scale_down(2).await;
    name_server.set(FULL, 1, &leaves.ips());
    let (answer, took) = until_leaves(&root, "2/2").await;
    println!("from 4 to 2 in {took:?}");
    assert_eq!(answer.json(), usual(&[1, 2]));
    assert!(took < TTL + LITTLE, "{took:?}");

    leaves.scale_up(4).await.expect("free ports");
    name_server.set(FULL, 1, &leaves.ips());
    let (answer, took) = until_leaves(&root, "6/6").await;
    println!("from 2 to 6 in {took:?}");
    assert_eq!(answer.json(), usual(&[1, 2, 3, 4, 5, 6]));
    assert!(took < TTL + LITTLE, "{took:?}");

    end.notify_one();
    let (all, bad) = flow.await.expect("no panic");
    println!("{all} requests meanwhile");
    assert_eq!(bad, [0_u16; 0]);
    assert!(all > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_server_is_asked_once_in_the_life_of_records() {
    let leaves = Leaves::start(2).await;
    let name_server = name_server(&leaves).await;
    name_server.set(FULL, 3600, &leaves.ips());
    let root = Root::named(FULL, &leaves, &name_server, &[]).await;
    let begin = Instant::now();
    for _ in 0..200 {
        assert_eq!(root.get("/").await.leaves(), "2/2");
    }
    let (asked, seconds) = (name_server.asked(), begin.elapsed().as_secs());
    let of_it = asked.iter().filter(|asked| **asked == format!("A {FULL}."));
    assert_eq!(of_it.count(), 1, "{asked:?}");
    // What the search list makes of the name is known not to be there for a second at a time.
    assert!(
        asked.len() <= 1 + 6 * (1 + usize::try_from(seconds).expect("few")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_for_in_the_search_domains() {
    let leaves = Leaves::start(2).await;
    let name_server = name_server(&leaves).await;
    for name in [
        SHORT,
        "search-leaf.shop",
        "search-leaf.shop.svc",
        FULL,
        &format!("{FULL}."),
    ] {
        let root = Root::named(name, &leaves, &name_server, &[]).await;
        let answer = root.get("/").await;
        assert_eq!((answer.status, answer.leaves()), (200, "2/2"), "{name}");
    }
    name_server.set("leaf.example.org", 1, &leaves.ips());
    let root = Root::named("leaf.example.org", &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "2/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_addresses_than_a_datagram_holds_are_all_leaves() {
    let leaves = Leaves::start(100).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "100/100"));
    assert_eq!(answer.json()["hits"].as_array().map(Vec::len), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_two_families_is_one_leaf() {
    let leaves = Leaves::start(2).await;
    let name_server = name_server(&leaves).await;
    let ipv6 = ["fd00:77::1", "fd00:77::2"].map(|ip| ip.parse().expect("an address"));
    name_server.set(FULL, 1, &[leaves.ips(), ipv6.to_vec()].concat());
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    let answer = root.get("/").await;
    assert_eq!(answer.leaves(), "2/2");
    assert_eq!(answer.json(), usual(&[1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_ipv6_alone_is_found() {
    let leaves = Leaves::start(1).await;
    let leaf = super::leaf::Leaf::start(
        format!("[::1]:{}", leaves.port)
            .parse()
            .expect("an address"),
    );
    let leaf = leaf.await.expect("IPv6 on the loopback");
    let name_server = name_server(&leaves).await;
    name_server.set(FULL, 1, &[leaf.address.ip()]);
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "1/1");
    assert_eq!((leaf.seen().len(), leaves[0].seen().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaves_of_before_serve_while_the_name_server_fails() {
    let leaves = Leaves::start(4).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    name_server.troubled("", Trouble::Servfail);
    until_asked(&root, &name_server).await;
    for _ in 0..20 {
        let answer = root.get("/").await;
        assert_eq!((answer.status, answer.leaves()), (200, "4/4"));
        assert!(answer.took < LITTLE, "{:?}", answer.took);
    }
    name_server.well();
    name_server.set(FULL, 1, &leaves.ips()[..3]);
    let (_, took) = until_leaves(&root, "3/3").await;
    assert!(took < TTL + LITTLE, "{took:?}");
}

/// The cluster's own zone fails, as `CoreDNS` does while it does not reach the API server; what comes last in the search is asked
/// elsewhere, where there is no such name.
#[tokio::test(flavor = "multi_thread")]
async fn the_leaves_of_before_serve_while_only_their_zone_fails() {
    let leaves = Leaves::start(4).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    name_server.troubled("cluster.local", Trouble::Servfail);
    until_asked(&root, &name_server).await;
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "4/4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaves_of_before_serve_at_once_while_the_name_server_is_silent() {
    let leaves = Leaves::start(4).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    name_server.troubled("", Trouble::Silence);
    until_asked(&root, &name_server).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let answer = root.get("/").await;
        assert_eq!((answer.status, answer.leaves()), (200, "4/4"));
        slowest = slowest.max(answer.took);
    }
    println!("the slowest took {slowest:?}");
    name_server.well();
    name_server.set(FULL, 1, &leaves.ips()[..3]);
    let (_, took) = until_leaves(&root, "3/3").await;
    println!("the new addresses in {took:?}");
    assert!(slowest < LITTLE, "{slowest:?}");
}

/// Each name waits for an answer of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_names_waits_for_a_silent_name_server_once() {
    let leaves = Leaves::start(4).await;
    let name_server = NameServer::start(leaves.ip(253)).await;
    let mut list = Vec::new();
    for (number, ip) in (0..).zip(leaves.ips()) {
        name_server.set(&format!("leaf-{number}.shop.svc.cluster.local"), 1, &[ip]);
        list.push(format!("leaf-{number}:{}", leaves.port));
    }
    name_server.troubled("", Trouble::Silence);
    let root = Root::resolving(&name_server, &["--leaf", &list.join(",")]).await;
    let answer = root.get("/").await;
    assert_eq!(answer.status, 503);
    println!("no address of four names after {:?}", answer.took);
    assert!(answer.took < Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_such_name_there_is_no_answer_until_there_is_one() {
    let leaves = Leaves::start(4).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    assert_eq!(root.get("/").await.leaves(), "4/4");
    let gone: [&dyn Fn(); 2] = [
        &|| name_server.remove(FULL),
        // CoreDNS knows a headless Service without Pods, but no address of it.
        &|| name_server.set(FULL, 1, &[]),
    ];
    for go in gone {
        go();
        let begin = Instant::now();
        let answer = until("no leaf to be known", async || {
            Some(root.get("/").await).filter(|answer| answer.status == 503)
        })
        .await;
        assert!(begin.elapsed() < TTL + LITTLE, "{:?}", begin.elapsed());
        assert_eq!(
            answer.body,
            format!(
                "{{\"error\":\"no leaf is known: {SHORT}:{} has no address\"}}\n",
                leaves.port
            )
        );
        name_server.set(FULL, 1, &leaves.ips());
        let (_, took) = until_leaves(&root, "4/4").await;
        println!("back in {took:?}");
        assert!(took < TTL + LITTLE, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_list_without_an_address_is_missing() {
    let leaves = Leaves::start(2).await;
    let name_server = NameServer::start(leaves.ip(253)).await;
    name_server.set("leaf-a.shop.svc.cluster.local", 1, &leaves.ips()[..1]);
    let port = leaves.port;
    let list = format!("leaf-a:{port},leaf-b:{port},{}", leaves[1].address);
    let root = Root::resolving(&name_server, &["--leaf", &list]).await;
    let answer = root.get("/").await;
    assert_eq!((answer.status, answer.leaves()), (200, "2/3"));
    assert_eq!(answer.json(), usual(&[1, 2]));
    let absent = [(format!("leaf-b:{port}"), "no-address".to_owned())];
    assert_eq!(answer.missing(), absent.into());
    assert_eq!(
        leaves[0].seen()[0].header("host"),
        Some(&*format!("leaf-a:{port}"))
    );

    name_server.set("leaf-b.shop.svc.cluster.local", 1, &leaves.ips()[..1]);
    until_leaves(&root, "3/3").await;
    name_server.remove("leaf-a.shop.svc.cluster.local");
    name_server.remove("leaf-b.shop.svc.cluster.local");
    until_leaves(&root, "1/3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_lost_is_asked_again() {
    let leaves = Leaves::start(2).await;
    let name_server = name_server(&leaves).await;
    name_server.troubled("", Trouble::Silence);
    let root = Root::named(SHORT, &leaves, &name_server, &[]).await;
    let recover = async {
        until("the first question", async || name_server.asked().pop()).await;
        name_server.well();
    };
    let (answer, ()) = tokio::join!(root.get("/"), recover);
    println!("answered after {:?}", answer.took);
    assert_eq!((answer.status, answer.leaves()), (200, "2/2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_before_anything_is_known_are_all_answered() {
    let leaves = Leaves::start(2).await;
    let name_server = name_server(&leaves).await;
    let root = Root::named(FULL, &leaves, &name_server, &["--leaf-timeout", "20s"]).await;
    let mut requests = JoinSet::new();
    for _ in 0..200 {
        let request = root.client.get(&root.url);
        requests.spawn(async move { request.send().await.expect("an answer").status().as_u16() });
    }
    assert_eq!(requests.join_all().await, [200; 200]);
    println!("{} questions", name_server.asked().len());
}
