//! The work queue: a real Redis at one end, an HTTP server of the test at the other, the program between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use redis::streams::{StreamInfoConsumersReply, StreamInfoGroupsReply, StreamRangeReply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{Helper, Redis, free_port, get, program, until};

// --- The app ---

/// What the app was handed.
#[derive(Debug, Clone)]
struct Delivery {
    item: Bytes,
    id: String,
    attempt: u32,
    content_type: String,
}

impl Delivery {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.item).expect("text")
    }
}

/// The app under the queue: it remembers what it was handed, and answers as the test says.
struct App {
    port: u16,
    routes: Router,
    seen: Arc<Mutex<Vec<Delivery>>>,
    done: Arc<Mutex<Vec<Delivery>>>,
    server: Option<(CancellationToken, JoinHandle<()>)>,
}

type Answer = Arc<dyn Fn(Delivery) -> BoxFuture<'static, u16> + Send + Sync>;

impl App {
    /// One that takes what comes.
    async fn obliging() -> Self {
        Self::start(|_| async { 200 }).await
    }

    async fn start<A: Future<Output = u16> + Send + 'static>(
        answer: impl Fn(Delivery) -> A + Send + Sync + 'static,
    ) -> Self {
        let mut app = Self::absent(answer);
        app.listen().await;
        app
    }

    /// One that does not listen yet.
    fn absent<A: Future<Output = u16> + Send + 'static>(
        answer: impl Fn(Delivery) -> A + Send + Sync + 'static,
    ) -> Self {
        let answer: Answer = Arc::new(move |delivery| answer(delivery).boxed());
        let (seen, done) = (Arc::default(), Arc::default());
        let records = (Arc::clone(&seen), Arc::clone(&done));
        let work = post(move |headers: HeaderMap, item: Bytes| {
            let (answer, records) = (answer.clone(), records.clone());
            async move { work(&headers, item, &answer, records).await }
        });
        let everything = axum::extract::DefaultBodyLimit::disable();
        Self {
            port: free_port(),
            routes: Router::new().route("/work", work).layer(everything),
            seen,
            done,
            server: None,
        }
    }

    async fn listen(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .await
            .expect("the app's port");
        let end = CancellationToken::new();
        let server = serve(listener, self.routes.clone(), end.clone());
        self.server = Some((end, tokio::spawn(server)));
    }

    /// Ends it with all its connections, and waits until the other side has closed them, too: a request on a connection that is
    /// just being closed is one that the app may have had.
    async fn stop(&mut self) {
        let (end, server) = self.server.take().expect("it listens");
        end.cancel();
        server.await.expect("no panic");
        let peer = format!(" 0100007F:{:04X} ", self.port);
        until("no connections", async || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's list");
            // The peer's address, then the state: 01 is ESTABLISHED, 08 CLOSE_WAIT.
            let mut open = sockets
                .lines()
                .filter_map(|line| line.split_once(&peer))
                .filter(|(_, rest)| rest.starts_with("01 ") || rest.starts_with("08 "));
            open.next().is_none().then_some(())
        })
        .await;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/work", self.port)
    }

    fn seen(&self) -> Vec<Delivery> {
        self.seen.lock().expect("no panic here").clone()
    }

    /// What it answered 2xx to. An answer that it began and that nobody waited for is none.
    fn done(&self) -> Vec<Delivery> {
        self.done.lock().expect("no panic here").clone()
    }

    /// Waits until it has been handed this item for this time.
    async fn sees(&self, item: &str, attempt: u32) {
        until(&format!("attempt {attempt} of `{item}`"), async || {
            let mut seen = self.seen().into_iter();
            seen.find(|one| one.item == item && one.attempt == attempt)
        })
        .await;
    }

    /// Waits until it has done so many items, and says which.
    async fn does(&self, count: usize) -> BTreeSet<String> {
        let done = until(&format!("{count} items done"), async || {
            let done = self.done();
            (done.len() >= count).then_some(done)
        })
        .await;
        done.iter().map(|one| one.text().to_owned()).collect()
    }
}

async fn serve(listener: TcpListener, routes: Router, end: CancellationToken) {
    let mut connections = JoinSet::new();
    while let Some(Ok((stream, _))) = end.run_until_cancelled(listener.accept()).await {
        let service = TowerToHyperService::new(routes.clone());
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
    drop(listener);
    connections.shutdown().await;
}

type Records = (Arc<Mutex<Vec<Delivery>>>, Arc<Mutex<Vec<Delivery>>>);

async fn work(
    headers: &HeaderMap,
    item: Bytes,
    answer: &Answer,
    (seen, done): Records,
) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let delivery = Delivery {
        item,
        id: header("x-item-id"),
        attempt: header("x-attempt").parse().expect("a number"),
        content_type: header("content-type"),
    };
    seen.lock().expect("no panic here").push(delivery.clone());
    let status = StatusCode::from_u16(answer(delivery.clone()).await).expect("a status");
    if status.is_success() {
        done.lock().expect("no panic here").push(delivery);
    }
    status
}

/// What the app waits for before it answers, once for each permit; for good once it is closed.
type Gate = Arc<Semaphore>;

fn gate() -> Gate {
    Arc::new(Semaphore::new(0))
}

async fn pass(gate: &Gate) {
    if let Ok(permit) = gate.acquire().await {
        permit.forget();
    }
}

// --- The queue ---

/// The program as a consumer of the stream `jobs`, with short times unless `more` says otherwise.
fn consumer(name: &str, redis_url: &str, app: &App, more: &[&str]) -> Helper {
    consumer_at("127.0.0.1:0", name, redis_url, app, more)
}

/// The same with its health port at this address.
fn consumer_at(address: &str, name: &str, redis_url: &str, app: &App, more: &[&str]) -> Helper {
    let url = app.url();
    let mut arguments = vec!["work-queue", "--consumer", name];
    arguments.extend(["--redis-url", redis_url, "--worker-url", &url]);
    arguments.extend(more);
    // Flags have the last word.
    let short = [
        ("OUTRIGGER_STREAM", "jobs"),
        ("OUTRIGGER_VISIBILITY", "2s"),
        ("OUTRIGGER_HANDLER_TIMEOUT", "1500ms"),
        ("OUTRIGGER_BACKOFF", "100ms"),
    ];
    Helper::start_at(address, &arguments, &short)
}

/// Times that nothing waits for in a test: what happens there happens for another reason.
const LONG: [&str; 6] = [
    "--visibility",
    "60s",
    "--handler-timeout",
    "59s",
    "--backoff",
    "60s",
];

/// Adds an item and tells its number.
async fn add(redis: &Redis, item: impl redis::ToRedisArgs) -> String {
    let mut connection = redis.client().await;
    redis::cmd("XADD")
        .arg("jobs")
        .arg("*")
        .arg("item")
        .arg(item)
        .query_async(&mut connection)
        .await
        .expect("an entry")
}

/// Adds `<prefix>0`, `<prefix>1`, and so on, and tells their names.
async fn add_many(redis: &Redis, prefix: &str, count: usize) -> BTreeSet<String> {
    let names: BTreeSet<_> = (0..count).map(|n| format!("{prefix}{n}")).collect();
    let mut all = redis::pipe();
    for name in &names {
        all.cmd("XADD").arg(&["jobs", "*", "item", name]);
    }
    let mut connection = redis.client().await;
    let _: Vec<String> = all.query_async(&mut connection).await.expect("entries");
    names
}

/// What the group has been given and has not done: number, consumer, milliseconds since, times given.
async fn pending(redis: &Redis) -> Vec<(String, String, u64, u32)> {
    redis.ask("XPENDING jobs workers - + 10000").await
}

/// Waits until the group owes nothing.
async fn nothing_is_pending(redis: &Redis) {
    until("an empty pending list", async || {
        pending(redis).await.is_empty().then_some(())
    })
    .await;
}

/// The dead letters, as the fields of each.
async fn dead(redis: &Redis) -> Vec<BTreeMap<String, String>> {
    let entries: StreamRangeReply = redis.ask("XRANGE jobs:dead - +").await;
    let text = |value| redis::from_redis_value(value).expect("text");
    entries
        .ids
        .into_iter()
        .map(|entry| entry.map.into_iter().map(|(k, v)| (k, text(v))).collect())
        .collect()
}

/// Waits for the first dead letters.
async fn died(redis: &Redis, count: usize) -> Vec<BTreeMap<String, String>> {
    until(&format!("{count} dead letters"), async || {
        let dead = dead(redis).await;
        (dead.len() >= count).then_some(dead)
    })
    .await
}

fn fields(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected
        .iter()
        .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
        .collect()
}

/// Waits until a metric has this value.
async fn shows(helper: &Helper, metric: &str, value: f64) {
    until(&format!("{metric} {value}"), async || {
        (helper.metric(metric).await.to_bits() == value.to_bits()).then_some(())
    })
    .await;
}

/// SIGTERM, and an end that is a good one.
async fn ends_well(mut helper: Helper) {
    helper.process.signal("TERM").await;
    assert_eq!(helper.process.ended().await.code(), Some(0));
}

// --- What the app is told, and what it says ---

#[tokio::test(flavor = "multi_thread")]
async fn the_app_gets_items_byte_for_byte_with_their_number_and_attempt() {
    let redis = Redis::start(&[]).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let big = bytes.repeat(5 * 1024 * 1024 / 256);
    // Before the first consumer came: these are not lost.
    let items = [bytes, big, Vec::new()];
    let mut ids = Vec::new();
    for item in &items {
        ids.push(add(&redis, item).await);
    }
    let answers = Mutex::new([204, 201, 200].into_iter());
    let app = App::start(move |_| {
        let status = answers.lock().expect("no panic here").next();
        async move { status.expect("no more items") }
    })
    .await;
    let helper = consumer(
        "one",
        &redis.url(),
        &app,
        &["--content-type", "image/x-test"],
    );
    until("three items", async || {
        (app.done().len() == 3).then_some(())
    })
    .await;
    for ((delivery, item), id) in app.seen().iter().zip(&items).zip(&ids) {
        assert!(delivery.item == *item, "{} bytes differ", item.len());
        assert_eq!(delivery.id, *id);
        assert_eq!(delivery.attempt, 1);
        assert_eq!(delivery.content_type, "image/x-test");
    }
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_done_total", 3.0).await;
    shows(&helper, "work_queue_in_flight", 0.0).await;
    shows(&helper, "work_queue_waiting", 0.0).await;
    shows(&helper, "work_queue_failed_total", 0.0).await;
    shows(&helper, "work_queue_dead_total", 0.0).await;
    shows(&helper, "work_queue_trimmed_away_total", 0.0).await;
    shows(&helper, "work_queue_worker_reachable", 1.0).await;
    shows(&helper, "work_queue_attempt_seconds_count", 3.0).await;
    let health = helper.health().await;
    let ok = (200, "ok\n".to_owned());
    assert_eq!(get(&format!("{health}/livez")).await, ok);
    assert_eq!(get(&format!("{health}/readyz")).await, ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_goes_to_the_dead_letters_after_so_many_attempts() {
    let redis = Redis::start(&[]).await;
    let app = App::start(|delivery| async move {
        match delivery.text() {
            "bad" => 500,
            // Not followed: an app that is not here cannot have done it.
            "elsewhere" => 307,
            _ => 200,
        }
    })
    .await;
    let mut connection = redis.client().await;
    let entry = ["jobs", "*", "item", "bad", "from", "a test", "trace", "7"];
    let bad: String = redis::cmd("XADD")
        .arg(&entry)
        .query_async(&mut connection)
        .await
        .expect("an entry");
    let elsewhere = add(&redis, "elsewhere").await;
    let good = add_many(&redis, "good", 20).await;
    let helper = consumer("one", &redis.url(), &app, &["--max-attempts", "3"]);
    let mut dead = died(&redis, 2).await;
    dead.sort_by_key(|letter| letter["item"].clone());
    let ends = |reason| [("dead-attempts", "3"), ("dead-reason", reason)];
    let expected = |own: &[_], reason| fields(&[own, &ends(reason)].concat());
    let own = [("item", "bad"), ("from", "a test"), ("trace", "7")];
    assert_eq!(
        dead,
        [
            expected(&[&own[..], &[("dead-id", &bad)]].concat(), "status 500"),
            expected(
                &[("item", "elsewhere"), ("dead-id", &elsewhere)],
                "status 307"
            ),
        ]
    );
    assert_eq!(app.does(20).await, good);
    for poison in ["bad", "elsewhere"] {
        let mut seen = app.seen();
        seen.retain(|one| one.item == poison);
        let attempts: Vec<_> = seen.iter().map(|one| one.attempt).collect();
        assert_eq!(attempts, [1, 2, 3], "{poison}");
    }
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_failed_total", 6.0).await;
    shows(&helper, "work_queue_dead_total", 2.0).await;
    shows(&helper, "work_queue_done_total", 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_waits_for_its_next_attempt_holds_up_no_other_and_is_left_to_others() {
    let redis = Redis::start(&[]).await;
    let app = App::start(|delivery| async move {
        match (delivery.text(), delivery.attempt) {
            ("bad", 1) => 500,
            _ => 200,
        }
    })
    .await;
    add(&redis, "bad").await;
    let good = add_many(&redis, "good", 20).await;
    let first = consumer("first", &redis.url(), &app, &LONG);
    assert_eq!(app.does(20).await, good);
    shows(&first, "work_queue_waiting", 1.0).await;
    shows(&first, "work_queue_in_flight", 0.0).await;
    ends_well(first).await;
    // At once, and as the second attempt.
    let second = consumer("second", &redis.url(), &app, &LONG);
    app.sees("bad", 2).await;
    nothing_is_pending(&redis).await;
    ends_well(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_wait_for_their_next_attempt_take_no_memory() {
    const ITEMS: u32 = 100;
    let redis = Redis::start(&[]).await;
    let app = App::start(|_| async { 500 }).await;
    let helper = consumer("one", &redis.url(), &app, &LONG);
    helper.logged("consumer group made").await;
    let idle = helper.rss();
    for _ in 0..ITEMS {
        add(&redis, vec![b'x'; 1024 * 1024]).await;
    }
    shows(&helper, "work_queue_waiting", ITEMS.into()).await;
    let grown = helper.rss() - idle;
    assert!(grown < 30 * 1024, "{grown} KiB for {ITEMS} MiB of items");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_the_field_is_a_dead_letter_at_once() {
    let redis = Redis::start(&[]).await;
    let (app, other) = (App::obliging().await, App::obliging().await);
    let audit = ["--group", "audit", "--field", "note"];
    let audit = consumer("one", &redis.url(), &other, &audit);
    let id: String = redis.ask("XADD jobs * note hello").await;
    let _helper = consumer("one", &redis.url(), &app, &[]);
    let expected = [
        ("note", "hello"),
        ("dead-id", &id),
        ("dead-attempts", "1"),
        ("dead-reason", "no field `item`"),
    ];
    assert_eq!(died(&redis, 1).await, [fields(&expected)]);
    assert!(app.seen().is_empty());
    // Another group has its own view of the same entry.
    other.sees("hello", 1).await;
    shows(&audit, "work_queue_dead_total", 0.0).await;
    nothing_is_pending(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_hangs_fails_its_attempt_and_keeps_the_item() {
    let redis = Redis::start(&[]).await;
    let hangs = App::start(|delivery| async move {
        match delivery.attempt {
            1 => std::future::pending().await,
            _ => 200,
        }
    })
    .await;
    let idle = App::obliging().await;
    let times = ["--handler-timeout", "1s", "--visibility", "4s"];
    let helper = consumer("one", &redis.url(), &hangs, &times);
    add(&redis, "item").await;
    hangs.sees("item", 1).await;
    let _other = consumer("two", &redis.url(), &idle, &times);
    hangs.does(1).await;
    nothing_is_pending(&redis).await;
    let attempts: Vec<_> = hangs.seen().iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    assert!(idle.seen().is_empty(), "{:?}", idle.seen());
    let line = helper.logged("attempt failed").await;
    assert_eq!(line["reason"], "no answer within 1s");
    shows(&helper, "work_queue_failed_total", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_does_not_work_twice_at_once_on_an_item_that_waited_for_long() {
    let redis = Redis::start(&[]).await;
    let gates: HashMap<_, _> = ["x", "a", "b", "c"].map(|name| (name, gate())).into();
    let doors = gates.clone();
    let app = App::start(move |delivery| {
        let gate = doors[delivery.text()].clone();
        async move {
            pass(&gate).await;
            if delivery.attempt == 1 && delivery.item == "x" {
                500
            } else {
                200
            }
        }
    })
    .await;
    let idle_for = async |long: u64| {
        until("the item to be idle", async || {
            pending(&redis)
                .await
                .iter()
                .find(|(id, ..)| {
                    app.seen()
                        .iter()
                        .any(|one| one.id == *id && one.item == "x")
                })
                .filter(|(_, _, idle, _)| *idle >= long)
                .map(drop)
        })
        .await;
    };
    let times = ["--visibility", "3s", "--handler-timeout", "2900ms"];
    let more = [&times[..], &["--concurrency", "2"]].concat();
    let helper = consumer("one", &redis.url(), &app, &more);
    add(&redis, "x").await;
    app.sees("x", 1).await;
    idle_for(1000).await;
    add(&redis, "a").await;
    app.sees("a", 1).await;
    add(&redis, "b").await;
    // `x` fails, and `b` takes its place: `x` waits, and is for anybody to take when it has done so for the visibility.
    gates["x"].add_permits(1);
    app.sees("b", 1).await;
    idle_for(3000).await;
    gates["a"].close();
    // The consumer takes it itself.
    app.sees("x", 2).await;
    add(&redis, "c").await;
    idle_for(200).await;
    // A free hand must go to what is new, not to what is already in work.
    gates["b"].close();
    until("another item", async || {
        (app.seen().len() > 4).then_some(())
    })
    .await;
    let last = app.seen().pop().expect("five");
    assert_eq!((last.text(), last.attempt), ("c", 1));
    gates["x"].close();
    gates["c"].close();
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_done_total", 4.0).await;
}

// --- An app that is not there ---

#[tokio::test(flavor = "multi_thread")]
async fn no_item_is_taken_before_the_app_is_there() {
    let redis = Redis::start(&[]).await;
    let names = add_many(&redis, "early", 5).await;
    let mut app = App::absent(|_| async { 200 });
    let helper = consumer("one", &redis.url(), &app, &["--max-attempts", "1"]);
    helper
        .logged("the app cannot be reached: no items are taken until it can")
        .await;
    shows(&helper, "work_queue_worker_reachable", 0.0).await;
    let groups: StreamInfoGroupsReply = redis.ask("XINFO GROUPS jobs").await;
    let mut given = groups.groups.iter().map(|group| &group.last_delivered_id);
    assert!(given.all(|last| last == "0-0"), "{groups:?}");
    app.listen().await;
    assert_eq!(app.does(5).await, names);
    assert!(app.seen().iter().all(|one| one.attempt == 1));
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_worker_reachable", 1.0).await;
    assert!(dead(&redis).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_goes_away_costs_no_attempt() {
    let redis = Redis::start(&[]).await;
    let mut app = App::obliging().await;
    let more = ["--max-attempts", "1", "--concurrency", "4"];
    let helper = consumer("one", &redis.url(), &app, &more);
    let mut names = add_many(&redis, "before", 10).await;
    app.does(10).await;
    nothing_is_pending(&redis).await;
    for round in ["first", "second"] {
        app.stop().await;
        names.extend(add_many(&redis, round, 10).await);
        // Those that were taken are given back, as never given.
        until("items that were given back", async || {
            let pending = pending(&redis).await;
            let back = pending.iter().all(|(.., times)| *times == 0);
            (back && !pending.is_empty()).then_some(())
        })
        .await;
        shows(&helper, "work_queue_worker_reachable", 0.0).await;
        app.listen().await;
        app.does(names.len()).await;
        nothing_is_pending(&redis).await;
    }
    assert_eq!(app.does(30).await, names);
    assert_eq!(app.seen().len(), 30);
    assert!(app.seen().iter().all(|one| one.attempt == 1));
    assert!(dead(&redis).await.is_empty());
    shows(&helper, "work_queue_failed_total", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_without_its_app_has_taken_others_do_soon() {
    let redis = Redis::start(&[]).await;
    let (mut gone, app) = (App::obliging().await, App::obliging().await);
    let more = [&LONG[..], &["--max-attempts", "1", "--concurrency", "4"]].concat();
    let first = consumer("first", &redis.url(), &gone, &more);
    add(&redis, "one").await;
    gone.does(1).await;
    nothing_is_pending(&redis).await;
    let _second = consumer("second", &redis.url(), &app, &more);
    add(&redis, "two").await;
    until("two items", async || {
        (gone.done().len() + app.done().len() == 2).then_some(())
    })
    .await;
    gone.stop().await;
    let before = app.done().len();
    let start = Instant::now();
    // Until the first consumer has noticed: it takes some of these, or the second was faster.
    let mut added = 0;
    until("the first consumer to notice", async || {
        add_many(&redis, &format!("more{added}-"), 4).await;
        added += 4;
        let log = first.process.log();
        log.iter()
            .any(|line| line.contains("the item goes back"))
            .then_some(())
    })
    .await;
    app.does(before + added).await;
    nothing_is_pending(&redis).await;
    // Not when the visibility has passed, which is a minute here.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(app.seen().iter().all(|one| one.attempt == 1));
    assert!(dead(&redis).await.is_empty());
}

// --- Crashes ---

#[tokio::test(flavor = "multi_thread")]
async fn attempts_count_across_crashes() {
    let redis = Redis::start(&[]).await;
    let app = App::start(|_| std::future::pending()).await;
    let times = ["--visibility", "1s", "--handler-timeout", "900ms"];
    let more = [&times[..], &["--max-attempts", "3"]].concat();
    let id = add(&redis, "deadly").await;
    for attempt in 1..=3 {
        let mut helper = consumer("one", &redis.url(), &app, &more);
        app.sees("deadly", attempt).await;
        helper.process.kill().await;
    }
    let _helper = consumer("one", &redis.url(), &app, &more);
    let expected = [
        ("item", "deadly"),
        ("dead-id", &id),
        ("dead-attempts", "3"),
        ("dead-reason", "the consumer ended during the last attempt"),
    ];
    assert_eq!(died(&redis, 1).await, [fields(&expected)]);
    nothing_is_pending(&redis).await;
    assert_eq!(app.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_everything_crashes_in_turn() {
    const ITEMS: usize = 3000;
    const HANDS: usize = 2;
    let mut redis = Redis::durable().await;
    let slow = |_| async {
        sleep(Duration::from_millis(20)).await;
        200
    };
    let mut apps = [
        App::start(slow).await,
        App::start(slow).await,
        App::absent(slow),
    ];
    let more = ["--concurrency", &HANDS.to_string()];
    let names = ["a", "b", "c"];
    let mut helpers = [0, 1, 2].map(|n| consumer(names[n], &redis.url(), &apps[n], &more));
    let counts = apps.each_ref().map(|app| app.done.clone());
    let done = move || -> usize {
        let counts = counts
            .iter()
            .map(|done| done.lock().expect("no panic").len());
        counts.sum()
    };
    let start = Instant::now();
    let producer = tokio::spawn(produce(redis.url(), ITEMS, done.clone()));
    let reaches = async |share: usize| {
        until(&format!("{share} % done"), async || {
            (done() >= ITEMS * share / 100).then_some(())
        })
        .await;
    };
    reaches(10).await;
    apps[2].listen().await;
    for (turn, share) in [(0, 20), (1, 35), (2, 65)] {
        reaches(share).await;
        helpers[turn].process.kill().await;
        helpers[turn] = consumer(names[turn], &redis.url(), &apps[turn], &more);
        if turn == 1 {
            reaches(50).await;
            redis.restart().await;
        }
    }
    let ids = producer.await.expect("no panic");
    reaches(100).await;
    let mut times = BTreeMap::<_, usize>::new();
    until("every item", async || {
        times.clear();
        for delivery in apps.iter().flat_map(App::done) {
            *times.entry(delivery.id).or_default() += 1;
        }
        ids.iter().all(|id| times.contains_key(id)).then_some(())
    })
    .await;
    nothing_is_pending(&redis).await;
    let took = start.elapsed();
    assert!(dead(&redis).await.is_empty());
    // Done twice is only what was done and not yet taken off: at a consumer's crash what it had in its hands, at Redis' crash what
    // all had in theirs, since each goes on telling Redis for as long as the item is its own, and takes no other meanwhile.
    let in_hand = names.len() * HANDS + names.len() * HANDS;
    let twice: usize = times.values().map(|times| times - 1).sum();
    let handed: usize = apps.iter().map(|app| app.seen().len()).sum();
    eprintln!(
        "{} items in {took:.1?} with 3 consumers killed once each, Redis once: {twice} done twice (at most {in_hand}), {} handed out again",
        times.len(),
        handed - times.len(),
    );
    assert!(twice <= in_hand, "{twice} done twice, {in_hand} in hand");
}

/// Adds items as fast as they are done, whatever becomes of Redis, and tells the numbers of all that it took.
async fn produce(url: String, count: usize, done: impl Fn() -> usize) -> Vec<String> {
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = None;
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < count {
        if ids.len() > done() + 200 {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        if connection.is_none() {
            connection = client.get_multiplexed_async_connection().await.ok();
        }
        let Some(open) = &mut connection else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let name = format!("item {}", ids.len());
        let mut add = redis::cmd("XADD");
        match add
            .arg(&["jobs", "*", "item", &name])
            .query_async(open)
            .await
        {
            Ok(id) => ids.push(id),
            Err(_) => connection = None,
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_took_out_of_the_stream_is_counted_and_forgotten() {
    let redis = Redis::start(&[]).await;
    let app = App::start(|delivery| async move {
        match delivery.text() {
            "fails" => 500,
            _ => 200,
        }
    })
    .await;
    // Three that are in the hands of a consumer that dies.
    add_many(&redis, "held", 3).await;
    let hanging = App::start(|_| std::future::pending()).await;
    let mut gone = consumer("gone", &redis.url(), &hanging, &["--concurrency", "3"]);
    until("three items in hand", async || {
        (hanging.seen().len() == 3).then_some(())
    })
    .await;
    gone.process.kill().await;
    for (id, ..) in pending(&redis).await.into_iter().skip(1) {
        let _: u32 = redis.ask(&format!("XDEL jobs {id}")).await;
    }
    let helper = consumer("one", &redis.url(), &app, &[]);
    shows(&helper, "work_queue_trimmed_away_total", 2.0).await;
    app.does(1).await;
    nothing_is_pending(&redis).await;
    // One that waits for its next attempt.
    let id = add(&redis, "fails").await;
    app.sees("fails", 1).await;
    let _: u32 = redis.ask(&format!("XDEL jobs {id}")).await;
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_trimmed_away_total", 3.0).await;
    assert!(dead(&redis).await.is_empty());
}

// --- Ends ---

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_hand_and_takes_no_more() {
    let redis = Redis::start(&[]).await;
    let gate = gate();
    let door = gate.clone();
    let app = App::start(move |_| {
        let gate = door.clone();
        async move {
            pass(&gate).await;
            200
        }
    })
    .await;
    let names = add_many(&redis, "item", 5).await;
    let mut helper = consumer("one", &redis.url(), &app, &LONG);
    app.sees("item0", 1).await;
    helper.process.signal("TERM").await;
    assert_eq!(helper.logged("no new items").await["in_hand"], 1);
    // It waits for the app, and still answers the kubelet.
    let health = helper.health().await;
    assert_eq!(get(&format!("{health}/livez")).await.0, 200);
    gate.close();
    assert_eq!(helper.process.ended().await.code(), Some(0));
    assert_eq!(app.seen().len(), 1);
    assert!(pending(&redis).await.is_empty());
    // Nor does it leave its name.
    let left: StreamInfoConsumersReply = redis.ask("XINFO CONSUMERS jobs workers").await;
    assert!(left.consumers.is_empty(), "{left:?}");
    let _next = consumer("two", &redis.url(), &app, &LONG);
    assert_eq!(app.does(5).await, names);
    assert!(app.seen().iter().all(|one| one.attempt == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_and_not_begun_is_given_back_as_never_given() {
    let redis = Redis::start(&[]).await;
    let app = App::obliging().await;
    // Signalled while it waits for items, it may yet be given one; mostly it is. If not, its successor does the item.
    let mut rounds = 0;
    let late = until("an item that came too late", async || {
        rounds += 1;
        let late = format!("late {rounds}");
        let mut helper = consumer("one", &redis.url(), &app, &LONG);
        add(&redis, "first").await;
        app.does(2 * rounds - 1).await;
        nothing_is_pending(&redis).await;
        helper.process.signal("TERM").await;
        helper.logged("stopping").await;
        add(&redis, &late).await;
        assert_eq!(helper.process.ended().await.code(), Some(0));
        let pending = pending(&redis).await;
        let (.., times) = pending.first()?;
        assert_eq!(*times, 0, "{pending:?}");
        Some(late)
    })
    .await;
    assert!(app.seen().iter().all(|one| one.item != late));
    // Well before the visibility of a minute.
    let _next = consumer("two", &redis.url(), &app, &LONG);
    app.sees(&late, 1).await;
    nothing_is_pending(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_a_sigterm_that_leaves_the_process() {
    let redis = Redis::start(&[]).await;
    let gate = gate();
    let door = gate.clone();
    let app = App::start(move |_| {
        let gate = door.clone();
        async move {
            pass(&gate).await;
            200
        }
    })
    .await;
    add_many(&redis, "item", 5).await;
    // As it is by default: all addresses, both families.
    let helper = consumer_at("[::]:0", "one", &redis.url(), &app, &LONG);
    app.sees("item0", 1).await;
    let health = helper.health().await;
    let port = health.rsplit(':').next().expect("a port").to_owned();

    // Only from the Pod itself.
    let outside = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    outside.connect("192.0.2.1:9").expect("a route");
    let own = outside.local_addr().expect("an address").ip();
    assert!(!own.is_loopback());
    let answer = reqwest::Client::new()
        .post(format!("http://{own}:{port}/drain"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 403);

    let drain = program().args(["drain", "--port", &port]).output().await;
    let drain = drain.expect("it runs");
    assert!(drain.status.success(), "{drain:?}");
    assert_eq!(helper.logged("no new items").await["in_hand"], 1);
    gate.close();
    app.does(1).await;
    nothing_is_pending(&redis).await;
    shows(&helper, "work_queue_done_total", 1.0).await;
    // Twice is no harm, and the kubelet's probes go on.
    let again = program().args(["drain", "--port", &port]).output().await;
    assert!(again.expect("it runs").status.success());
    assert_eq!(get(&format!("http://127.0.0.1:{port}/readyz")).await.0, 200);
    ends_well(helper).await;
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_nobody_says_so() {
    let port = free_port().to_string();
    let drain = program().args(["drain", "--port", &port]).output().await;
    let drain = drain.expect("it runs");
    assert_eq!(drain.status.code(), Some(1));
    let text = String::from_utf8(drain.stderr).expect("text");
    let expected = format!("error: cannot reach `http://127.0.0.1:{port}/drain`: ");
    assert!(text.starts_with(&expected), "{text}");
}

// --- The stream's length ---

#[tokio::test(flavor = "multi_thread")]
async fn what_every_group_has_done_leaves_the_stream() {
    // Redis takes out whole nodes only.
    let redis = Redis::start(&["--stream-node-max-entries", "10"]).await;
    let app = App::obliging().await;
    let fill = async |stream: &str| {
        let mut all = redis::pipe();
        for n in 0..200 {
            all.cmd("XADD").arg(&[stream, "*", "item"]).arg(n);
        }
        let mut connection = redis.client().await;
        let _: Vec<String> = all.query_async(&mut connection).await.expect("entries");
    };
    // A group is one as soon as its consumer is there, even if the app is not.
    let mut late = App::absent(|_| async { 200 });
    let more = ["--concurrency", "8", "--stream", "waits", "--group", "late"];
    let waiting = consumer("one", &redis.url(), &late, &more);
    waiting
        .logged("the app cannot be reached: no items are taken until it can")
        .await;
    for stream in ["kept", "shared", "waits", "jobs"] {
        fill(stream).await;
    }
    let _: () = redis.ask("XGROUP CREATE shared audit 0").await;
    let start = |stream, trim| {
        let more = ["--concurrency", "8", "--stream", stream, "--trim", trim];
        consumer("one", &redis.url(), &app, &more)
    };
    let helpers = [
        start("kept", "never"),
        start("shared", "done"),
        start("waits", "done"),
        start("jobs", "done"),
    ];
    for helper in &helpers {
        shows(helper, "work_queue_done_total", 200.0).await;
    }
    let length = async |stream: &str| redis.ask::<usize>(&format!("XLEN {stream}")).await;
    // The last node has the group's last entry, which is no younger than itself.
    until("a short stream", async || {
        (length("jobs").await <= 10).then_some(())
    })
    .await;
    let trims = async || {
        let statistics: String = redis.ask("INFO commandstats").await;
        let calls = statistics
            .split_once("cmdstat_xtrim:calls=")
            .and_then(|(_, rest)| rest.split_once(',')?.0.parse::<u32>().ok());
        calls.unwrap_or_default()
    };
    until("a look of all that trim", async || {
        (trims().await >= 4).then_some(())
    })
    .await;
    assert_eq!(length("waits").await, 200);
    late.listen().await;
    late.does(200).await;
    assert_eq!(length("shared").await, 200);
    assert_eq!(length("kept").await, 200);
    // The other group reads all, and does all but the 101st.
    let read = "XREADGROUP GROUP audit somebody COUNT 200 STREAMS shared >";
    let _: redis::Value = redis.ask(read).await;
    let owed: Vec<(String, String, u64, u32)> = redis.ask("XPENDING shared audit - + 200").await;
    let mut done: Vec<_> = owed.iter().map(|(id, ..)| id.as_str()).collect();
    let open = done.remove(100);
    let _: usize = redis
        .ask(&format!("XACK shared audit {}", done.join(" ")))
        .await;
    until("a shorter stream", async || {
        (length("shared").await == 100).then_some(())
    })
    .await;
    let first: StreamRangeReply = redis.ask("XRANGE shared - + COUNT 1").await;
    assert_eq!(first.ids[0].id, *open);
    assert_eq!(length("kept").await, 200);
}

// --- Redis ---

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_user_needs_no_more_than_the_keys_and_commands_of_the_job() {
    let redis = Redis::start(&[]).await;
    let rights = "ACL SETUSER queue on >secret ~jobs ~jobs:dead +xreadgroup +xautoclaim +xclaim +xack +xpending +xadd +xgroup|create +xgroup|delconsumer +xinfo|groups +xtrim +multi +exec";
    let _: () = redis.ask(rights).await;
    let gate = gate();
    let door = gate.clone();
    let app = App::start(move |delivery| {
        let gate = door.clone();
        async move {
            match delivery.text() {
                "bad" => 500,
                "slow" => {
                    pass(&gate).await;
                    200
                }
                _ => 200,
            }
        }
    })
    .await;
    let url = app.url();
    let redis_url = redis.url();
    let job = [
        "work-queue",
        "--stream",
        "jobs",
        "--consumer",
        "one",
        "--worker-url",
        &url,
        "--redis-url",
        &redis_url,
        "--backoff",
        "10ms",
        "--max-attempts",
        "2",
        "--concurrency",
        "2",
    ];
    let file = redis.directory().join("password");
    std::fs::write(&file, "secret\n").expect("a file");
    let file = file.to_str().expect("text");
    for (round, environment) in [
        ("OUTRIGGER_REDIS_PASSWORD", "secret"),
        ("OUTRIGGER_REDIS_PASSWORD_FILE", file),
    ]
    .into_iter()
    .enumerate()
    {
        let user = ("OUTRIGGER_REDIS_USER", "queue");
        let helper = Helper::start_with(&job, &[user, environment]);
        add(&redis, "good").await;
        add(&redis, "bad").await;
        add(&redis, "slow").await;
        died(&redis, round + 1).await;
        app.sees("slow", 1).await;
        gate.add_permits(1);
        app.does(2 * (round + 1)).await;
        nothing_is_pending(&redis).await;
        ends_well(helper).await;
    }
    let denied: Vec<redis::Value> = redis.ask("ACL LOG").await;
    let mut denied = denied.iter().map(|entry| format!("{entry:?}"));
    // The client library says its name, and does without it.
    let missed = denied.find(|entry| !entry.contains(r#""client|setinfo""#));
    assert_eq!(missed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_silence_of_redis_makes_a_consumer_unready() {
    // Some whose only hand is full, and some that wait for their apps.
    let redis = Redis::start(&[]).await;
    let hangs = App::start(|_| std::future::pending()).await;
    let nowhere = App::absent(|_| async { 200 });
    let of_group = |group, trim, app| {
        let more = [&LONG[..], &["--group", group, "--trim", trim]].concat();
        consumer("one", &redis.url(), app, &more)
    };
    let busy = ["done", "never"].map(|trim| of_group(trim, trim, &hangs));
    let waiting = ["done", "never"].map(|trim| of_group("waiting", trim, &nowhere));
    add_many(&redis, "long", 4).await;
    until("two full hands", async || {
        (hangs.seen().len() == 2).then_some(())
    })
    .await;
    for helper in &waiting {
        helper
            .logged("the app cannot be reached: no items are taken until it can")
            .await;
    }

    // And, later than they, one that may not speak to Redis.
    let closed = Redis::start(&["--requirepass", "right"]).await;
    let app = App::obliging().await;
    let (closed_url, app_url) = (closed.url(), app.url());
    let locked_out = Helper::start_with(
        &[
            "work-queue",
            "--consumer",
            "one",
            "--stream",
            "jobs",
            "--redis-url",
            &closed_url,
            "--worker-url",
            &app_url,
        ],
        &[("OUTRIGGER_REDIS_PASSWORD", "hidden-word")],
    );
    let ready = async |helper: &Helper| get(&format!("{}/readyz", helper.health().await)).await;
    let line = locked_out.logged("no items from Redis").await;
    let error = line["error"].as_str().expect("text");
    assert!(error.contains("Password authentication failed"), "{error}");
    assert_eq!(ready(&locked_out).await, (200, "ok\n".to_owned()));
    let (_, reason) = until("an unready consumer", async || {
        Some(ready(&locked_out).await).filter(|(status, _)| *status == 503)
    })
    .await;
    assert_eq!(reason, "Redis has not answered for 15 s\n");
    assert_eq!(
        get(&format!("{}/livez", locked_out.health().await)).await.0,
        200
    );
    let ok = (200, "ok\n".to_owned());
    for helper in busy.iter().chain(&waiting) {
        assert_eq!(ready(helper).await, ok, "{:?}", helper.process.log());
    }
    // What there is to do is known by then, too.
    for helper in &busy {
        shows(helper, "work_queue_lag", 3.0).await;
        shows(helper, "work_queue_pending", 1.0).await;
    }

    let admin = format!("redis://:right@127.0.0.1:{}", closed.port);
    let mut admin = redis::Client::open(admin)
        .expect("a URL")
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "hidden-word"])
        .query_async(&mut admin)
        .await
        .expect("a new password");
    until("a ready consumer", async || {
        (ready(&locked_out).await == ok).then_some(())
    })
    .await;
    let said = locked_out.process.log().join("\n");
    assert!(!said.contains("hidden-word"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_private_authority() {
    let authority = Authority::new();
    let redis = Redis::start(&[]).await;
    let directory = redis.directory();
    let (ca, certificate, key) = (
        directory.join("ca.pem"),
        directory.join("redis.pem"),
        directory.join("redis.key"),
    );
    let (pem, key_pem) = authority.sign("127.0.0.1");
    std::fs::write(&ca, &authority.pem).expect("a file");
    std::fs::write(&certificate, pem).expect("a file");
    std::fs::write(&key, key_pem).expect("a file");
    let tls_port = free_port();
    let set = format!(
        "CONFIG SET tls-cert-file {} tls-key-file {} tls-ca-cert-file {} tls-auth-clients no tls-port {tls_port}",
        certificate.display(),
        key.display(),
        ca.display()
    );
    let _: () = redis.ask(&set).await;
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let app = App::obliging().await;
    // Nobody vouches for it.
    let stranger = consumer("stranger", &url, &app, &[]);
    let line = stranger.logged("no items from Redis").await;
    let error = line["error"].as_str().expect("text");
    assert!(error.contains("UnknownIssuer"), "{error}");
    drop(stranger);
    let ca = ca.to_str().expect("text");
    let helper = consumer("one", &url, &app, &["--redis-ca", ca]);
    add(&redis, "item").await;
    app.does(1).await;
    nothing_is_pending(&redis).await;
    ends_well(helper).await;
}

/// A certificate authority of the test's own.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new([]).expect("no names");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let issuer = rcgen::Issuer::new(parameters, key);
        Self { issuer, pem }
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = parameters.signed_by(&key, &self.issuer);
        (
            certificate.expect("a certificate").pem(),
            key.serialize_pem(),
        )
    }
}

/// One address for two servers, as a Service or a name is: new connections go to the one that it points to.
struct Address {
    port: u16,
    target: Arc<AtomicU16>,
    _tasks: JoinSet<()>,
}

impl Address {
    async fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(AtomicU16::new(redis.port));
        let to = target.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pipes = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.load(Ordering::SeqCst);
                pipes.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self {
            port,
            target,
            _tasks: tasks,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_and_needs_no_restart() {
    let old = Redis::start(&["--repl-diskless-sync-delay", "0"]).await;
    let new = Redis::start(&[]).await;
    let _: () = new.ask(&format!("REPLICAOF 127.0.0.1 {}", old.port)).await;
    let address = Address::of(&old).await;
    let gate = gate();
    let door = gate.clone();
    let app = App::start(move |delivery| {
        let gate = door.clone();
        async move {
            if !delivery.item.starts_with(b"item") {
                pass(&gate).await;
            }
            if delivery.item == "bad" { 500 } else { 200 }
        }
    })
    .await;
    let url = format!("redis://127.0.0.1:{}", address.port);
    let more = [&LONG[..], &["--max-attempts", "1"]].concat();
    // One has an item in hand that will be done, the other one that is to go to the dead letters.
    let _one = consumer("one", &url, &app, &more);
    add(&old, "good").await;
    app.sees("good", 1).await;
    let other = consumer(
        "other",
        &url,
        &app,
        &[&more[..], &["--trim", "never"]].concat(),
    );
    add(&old, "bad").await;
    app.sees("bad", 1).await;
    until("a replica that has all", async || {
        let replicas: (String, u64, Vec<(String, u16, String)>) = old.ask("ROLE").await;
        let (_, offset, replicas) = replicas;
        replicas
            .iter()
            .any(|(.., its)| *its == offset.to_string())
            .then_some(())
    })
    .await;
    let _: () = new.ask("REPLICAOF NO ONE").await;
    address.target.store(new.port, Ordering::SeqCst);
    let _: () = old.ask(&format!("REPLICAOF 127.0.0.1 {}", new.port)).await;
    // Their connections still lead to the old one, which takes no writes any more.
    gate.close();
    let reason = &died(&new, 1).await[0]["dead-reason"];
    assert_eq!(reason, "status 500");
    let names = add_many(&new, "item", 50).await;
    let done = app.does(51).await;
    assert!(names.is_subset(&done), "{done:?}");
    nothing_is_pending(&new).await;
    assert_eq!(app.seen().len(), 52);
    shows(&other, "work_queue_dead_total", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_time_and_no_attempt() {
    let redis = Redis::start(&[]).await;
    let gate = gate();
    let door = gate.clone();
    let app = App::start(move |_| {
        let gate = door.clone();
        async move {
            pass(&gate).await;
            200
        }
    })
    .await;
    let more = [&LONG[..], &["--concurrency", "2"]].concat();
    let helper = consumer("one", &redis.url(), &app, &more);
    add(&redis, "item").await;
    app.sees("item", 1).await;
    redis.process().signal("STOP").await;
    gate.close();
    helper.logged("no items from Redis").await;
    helper.logged("Redis did not take the item's end").await;
    redis.process().signal("CONT").await;
    nothing_is_pending(&redis).await;
    add(&redis, "next").await;
    app.sees("next", 1).await;
    nothing_is_pending(&redis).await;
    assert_eq!(app.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_lost_everything_gets_its_group_again() {
    let redis = Redis::start(&[]).await;
    let app = App::obliging().await;
    let helper = consumer("one", &redis.url(), &app, &[]);
    for round in 1..=3 {
        let item = format!("item {round}");
        add(&redis, &item).await;
        app.sees(&item, 1).await;
        let _: () = redis.ask("FLUSHALL").await;
    }
    assert!(app.seen().iter().all(|one| one.attempt == 1));
    // While it waits in a read, too.
    until("the group", async || {
        let groups: Vec<redis::Value> = redis.try_ask("XINFO GROUPS jobs").await.ok()?;
        (!groups.is_empty()).then_some(())
    })
    .await;
    ends_well(helper).await;
}

// --- Settings ---

/// The exit code and what the program says when it is started with this.
async fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program()
        .args(["work-queue", "--health-address", "127.0.0.1:0"])
        .args(arguments)
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_one_sentence() {
    let redis = "the Redis URL is none: expected redis://host:port or rediss://host:port";
    let cases: &[(&[&str], &str)] = &[
        (
            &["--handler-timeout", "30s"],
            "`--handler-timeout` (30s) must be shorter than `--visibility` (30s): otherwise an item is given to another while the app still works on it",
        ),
        (
            &["--dead-stream", "jobs"],
            "`--dead-stream` is the stream itself, `jobs`",
        ),
        (&["--redis-url", "http://:hidden@host"], redis),
        (&["--redis-url", "host:6379"], redis),
        (
            &["--worker-url", "https://127.0.0.1/work"],
            "`--worker-url` is `https://127.0.0.1/work`: expected http://host:port/path",
        ),
        (
            &["--redis-ca", "/nowhere.pem"],
            "cannot read `/nowhere.pem`: No such file or directory (os error 2)",
        ),
        (
            &["--redis-password-file", "/nowhere"],
            "cannot read `/nowhere`: No such file or directory (os error 2)",
        ),
    ];
    for (arguments, sentence) in cases {
        let arguments = [&["--stream", "jobs", "--consumer", "one"], *arguments].concat();
        assert_eq!(
            refused(&arguments).await,
            (Some(1), format!("error: {sentence}\n")),
            "{arguments:?}"
        );
    }
    // Whatever is wrong with it, a URL may hold a password.
    for url in [
        "redis://:hidden@host:port",
        "redis://user:hidden@host:99999",
        "redis://:hidden@host/db",
        "redis://:hid#den@host",
        "rediss://:hidden@[::1",
        "redis://:hidden@",
    ] {
        let (code, text) = refused(&["--stream", "jobs", "--redis-url", url]).await;
        assert_eq!(code, Some(1), "{url}: {text}");
        assert!(text.starts_with("error: the Redis URL is none"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains("hid"), "{text}");
    }
    // What clap finds out about.
    for (arguments, part) in [
        (&["--concurrency", "0"][..], "0 is not in 1..=1000"),
        (
            &["--visibility", "never"][..],
            "expected a duration above zero such as 500ms, 2s or 1h30m, not `never`",
        ),
        (
            &["--redis-password", "hidden", "--redis-password-file", "/x"][..],
            "cannot be used with",
        ),
    ] {
        let (code, text) = refused(&[&["--stream", "jobs"], arguments].concat()).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}

// --- Figures ---

#[tokio::test(flavor = "multi_thread")]
async fn it_is_quick_and_small() {
    const ITEMS: usize = 5000;
    let redis = Redis::start(&[]).await;
    let app = App::obliging().await;
    let port = free_port();
    let start = Instant::now();
    let helper = consumer_at(
        &format!("127.0.0.1:{port}"),
        "one",
        &redis.url(),
        &app,
        &["--concurrency", "8"],
    );
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_err()
    {
        sleep(Duration::from_micros(200)).await;
    }
    assert_eq!(get(&format!("http://127.0.0.1:{port}/readyz")).await.0, 200);
    let ready = start.elapsed();
    helper.logged("consumer group made").await;
    let idle = helper.rss();
    add_many(&redis, "warm", 100).await;
    app.does(100).await;
    let mut connection = redis.client().await;
    let mut all = redis::pipe();
    for n in 0..ITEMS {
        all.cmd("XADD").arg(&["jobs", "*", "item"]).arg(n).ignore();
    }
    let start = Instant::now();
    let _: () = all.query_async(&mut connection).await.expect("entries");
    app.does(100 + ITEMS).await;
    let took = start.elapsed().as_secs_f64();
    let loaded = helper.rss();
    nothing_is_pending(&redis).await;
    #[allow(clippy::cast_precision_loss)] // thousands
    let rate = ITEMS as f64 / took;
    eprintln!(
        "ready after {ready:.1?}; {rate:.0} items/s with 8 hands and an app that answers at once; {idle} KiB idle, {loaded} KiB loaded"
    );
}
