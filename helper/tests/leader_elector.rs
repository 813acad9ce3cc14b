//! Leader election against a real API server, which is frozen and stopped under the candidates' feet, as they are themselves.
//!
//! Every candidate of every test is asked all the time whether it leads, and every test ends with the law: never two at once.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::support::{Helper, free_port, get, setting, until};

/// How often a candidate is asked.
const TICK: Duration = Duration::from_millis(20);
/// How long it is given for an answer: one that is frozen has none.
const ANSWER: Duration = Duration::from_millis(200);
/// What a busy machine may add to a time that is measured.
const SLACK: Duration = Duration::from_millis(500);

/// Short times, so that every one of them runs out in a test.
const LEASE: Duration = Duration::from_secs(4);
const RENEW: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);
const SHORT: &[&str] = &[
    "--lease-duration=4s",
    "--renew-deadline=3s",
    "--retry-period=500ms",
];

// --- who led, and when -------------------------------------------------------

/// A time in which one candidate led without a break. It led at a moment between the question and the answer of its first 200, at
/// another of its last, and all the while between.
#[derive(Debug)]
struct Term {
    candidate: String,
    /// When its first 200 had come: it had begun to lead by then.
    begun: Instant,
    /// When its last 200 was asked for: it had not stopped by then.
    still: Instant,
    /// When its last 200 had come.
    answered: Instant,
}

impl Term {
    /// Takes in one more 200, unless the one before is so long ago that a break may have gone unseen. Half a second is not: another
    /// that claims a Lease waits at least a second, by which the lease duration exceeds the renew deadline.
    fn goes_on(&mut self, asked: &Range<Instant>) -> bool {
        let soon = asked.start - self.answered < RETRY;
        if soon {
            self.still = asked.start;
            self.answered = asked.end;
        }
        soon
    }

    /// Whether the answers prove two leaders at once: neither can have stopped before the other began. The answers of a hand-over,
    /// however late they come, never do, since questions and answers are not taken for moments.
    fn contradicts(&self, other: &Self) -> bool {
        self.candidate != other.candidate && self.still > other.begun && other.still > self.begun
    }
}

/// What the candidates of an election have answered.
#[derive(Debug, Default)]
struct Record {
    terms: Vec<Term>,
    answers: usize,
}

impl Record {
    /// Who led at once, and for how long at least.
    fn contradictions(&self) -> Vec<String> {
        let pairs = self
            .terms
            .iter()
            .enumerate()
            .flat_map(|(n, term)| self.terms[..n].iter().map(move |before| (before, term)));
        pairs
            .filter(|(before, term)| before.contradicts(term))
            .map(|(before, term)| {
                let (begun, still) = (before.begun.max(term.begun), before.still.min(term.still));
                let time = still.saturating_duration_since(begun);
                format!("{} and {} for {time:.1?}", before.candidate, term.candidate)
            })
            .collect()
    }
}

/// Asks one life of a candidate until it is aborted.
async fn ask_on(
    client: reqwest::Client,
    url: String,
    candidate: String,
    record: Arc<Mutex<Record>>,
) {
    // The place of the term that goes on.
    let mut term: Option<usize> = None;
    loop {
        let asked = Instant::now();
        let answer = client.get(format!("{url}/leader")).send().await;
        let asked = asked..Instant::now();
        {
            let mut record = record.lock().expect("no panic here");
            match answer {
                Ok(answer) => {
                    record.answers += 1;
                    if answer.status() != 200 {
                        term = None;
                    } else if !term.is_some_and(|at| record.terms[at].goes_on(&asked)) {
                        term = Some(record.terms.len());
                        record.terms.push(Term {
                            candidate: candidate.clone(),
                            begun: asked.end,
                            still: asked.start,
                            answered: asked.end,
                        });
                    }
                }
                // No answer in time says nothing.
                Err(error) if error.is_timeout() => {}
                Err(_) => term = None,
            }
        }
        sleep(TICK).await;
    }
}

// --- candidates --------------------------------------------------------------

/// One election in a namespace of its own.
struct Election {
    namespace: String,
    flags: &'static [&'static str],
    kubeconfig: PathBuf,
    client: reqwest::Client,
    record: Arc<Mutex<Record>>,
    lives: usize,
}

impl Election {
    async fn new(flags: &'static [&'static str]) -> Self {
        let namespace = format!("election-{:08x}", rand::random::<u32>());
        kubectl(&["create", "namespace", &namespace]).await;
        Self::by(namespace, flags, setting("KUBECONFIG").into())
    }

    /// One whose candidates reach the API server by this kubeconfig.
    fn by(namespace: String, flags: &'static [&'static str], kubeconfig: PathBuf) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER)
            .build();
        Self {
            namespace,
            flags,
            kubeconfig,
            client: client.expect("a client"),
            record: Arc::default(),
            lives: 0,
        }
    }

    /// Starts a candidate; the same name again is another life of it.
    async fn candidate(&mut self, name: &str) -> Candidate {
        let namespace = format!("--namespace={}", self.namespace);
        let identity = format!("--identity={name}");
        let mut arguments = vec!["leader-elector", "--lease=shop", "--listen=127.0.0.1:0"];
        arguments.extend([&*namespace, &*identity]);
        arguments.extend(self.flags);
        let kubeconfig = self.kubeconfig.to_str().expect("a path in UTF-8");
        let helper = Helper::start_with(&arguments, &[("KUBECONFIG", kubeconfig)]);
        let url = helper.api().await;
        self.lives += 1;
        let life = format!("{name}, life {}", self.lives);
        let asked = ask_on(
            self.client.clone(),
            url.clone(),
            life.clone(),
            self.record.clone(),
        );
        Candidate {
            helper,
            life,
            client: self.client.clone(),
            asking: tokio::spawn(asked),
            url,
        }
    }

    async fn candidates<const N: usize>(&mut self, names: [&str; N]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for name in names {
            candidates.push(self.candidate(name).await);
        }
        candidates
    }

    /// Waits until one of them has led for a second; its place.
    async fn settled(&self, candidates: &[Candidate]) -> usize {
        until("a leader that stays", async || {
            self.keeps_the_law();
            let place = leader(candidates).await;
            let record = self.record.lock().expect("no panic here");
            let term = record.terms.last()?;
            let lasts = term.candidate == candidates[place].life
                && term.still - term.begun > Duration::from_secs(1);
            lasts.then_some(place)
        })
        .await
    }

    /// Never two leaders, by all that was answered so far.
    fn keeps_the_law(&self) {
        let contradictions = self.record.lock().expect("no panic here").contradictions();
        assert!(contradictions.is_empty(), "{contradictions:#?}");
    }

    /// The same at the end, when somebody has led.
    async fn never_had_two_leaders(&self) {
        until("a term", async || {
            let record = self.record.lock().expect("no panic here");
            (!record.terms.is_empty()).then_some(())
        })
        .await;
        self.keeps_the_law();
    }

    /// `kubectl` in its namespace.
    async fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["--namespace", &*self.namespace], arguments].concat()).await
    }
}

/// A candidate that is asked all the time.
struct Candidate {
    helper: Helper,
    /// What the record calls it.
    life: String,
    url: String,
    client: reqwest::Client,
    asking: JoinHandle<()>,
}

impl Drop for Candidate {
    /// Its port may soon be another's.
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Candidate {
    /// Whether it says that it leads; one that does not answer does not say so.
    async fn leads(&self) -> bool {
        let answer = self.client.get(format!("{}/leader", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Waits until it says that it leads, or that it does not.
    async fn comes_to(&self, lead: bool) {
        until(&format!("leading to be {lead}"), async || {
            (self.leads().await == lead).then_some(())
        })
        .await;
    }

    async fn who(&self) -> Value {
        serde_json::from_str(&get(&self.url).await.1).expect("JSON")
    }

    async fn ready(&self) -> (u16, String) {
        get(&format!("{}/readyz", self.helper.health().await)).await
    }

    /// Waits until it answers 200 to a probe, or no longer does; what it said then.
    async fn comes_to_be_ready(&self, ready: bool) -> String {
        until(&format!("being ready to be {ready}"), async || {
            let (status, said) = self.ready().await;
            ((status == 200) == ready).then_some(said)
        })
        .await
    }

    /// SIGTERM, and its end.
    async fn stop(&mut self) {
        self.helper.process.signal("TERM").await;
        assert!(self.helper.process.ended().await.success(), "it fails");
    }
}

/// Waits until one of them leads; its place.
async fn leader(candidates: &[Candidate]) -> usize {
    until("a leader", async || {
        for (place, candidate) in candidates.iter().enumerate() {
            if candidate.leads().await {
                return Some(place);
            }
        }
        None
    })
    .await
}

// --- the API server ----------------------------------------------------------

async fn kubectl(arguments: &[&str]) -> String {
    run(Command::new("kubectl").args(arguments)).await
}

async fn run(command: &mut Command) -> String {
    let output = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `tests/cluster/cluster`, as `tests/helper/run` names it.
fn cluster(arguments: &[&str]) -> std::process::Command {
    let name = setting("CLUSTER");
    let mut words = name.split(' ');
    let mut command = std::process::Command::new(words.next().expect("a path"));
    command.args(words).args(arguments);
    command
}

/// The API server while it is frozen, as if its machine hung. Thaws when it goes out of scope.
struct Frozen {
    since: Instant,
}

impl Frozen {
    async fn now() -> Self {
        run(&mut cluster(&["pause", "kube-apiserver"]).into()).await;
        Self {
            since: Instant::now(),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let resumed = cluster(&["resume", "kube-apiserver"]).status();
        assert!(resumed.expect("it runs").success(), "it stays frozen");
    }
}

/// A kubeconfig with this server and user.
fn kubeconfig(directory: &Path, server: &str, user: &Value) -> PathBuf {
    let path = directory.join("kubeconfig");
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "test", "user": user}],
    });
    std::fs::write(&path, config.to_string()).expect("a file");
    path
}

/// An election of candidates with a service account that may do this with Leases.
async fn election_of_accounts(verbs: Option<&str>) -> (Election, TempDir) {
    let mut election = Election::new(SHORT).await;
    election
        .kubectl(&["create", "serviceaccount", "elector"])
        .await;
    if let Some(verbs) = verbs {
        let verbs = format!("--verb={verbs}");
        let resource = "--resource=leases.coordination.k8s.io";
        election
            .kubectl(&["create", "role", "elector", &verbs, resource])
            .await;
        let account = format!("--serviceaccount={}:elector", election.namespace);
        election
            .kubectl(&[
                "create",
                "rolebinding",
                "elector",
                "--role=elector",
                &account,
            ])
            .await;
    }
    let token = election.kubectl(&["create", "token", "elector"]).await;
    let server = "--output=jsonpath={.clusters[0].cluster.server}";
    let server = kubectl(&["config", "view", "--minify", server]).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let user = json!({"token": token.trim()});
    election.kubeconfig = kubeconfig(directory.path(), &server, &user);
    (election, directory)
}

// --- tests -------------------------------------------------------------------

#[test]
fn a_hand_over_is_no_contradiction_however_late_the_answers_come() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    // The first 200's answer, and the last one's question.
    let term = |candidate: &str, begun, still| Term {
        candidate: candidate.to_owned(),
        begun: at(begun),
        still: at(still),
        answered: at(still),
    };
    // The last question of one, and then the first answer of the other.
    assert!(!term("a", 1, 4).contradicts(&term("b", 5, 9)));
    assert!(term("a", 1, 6).contradicts(&term("b", 5, 9)));
    // A single 200, asked for at 4 and come at 5, while the other led all the time, and while it may have begun.
    assert!(term("a", 1, 9).contradicts(&term("b", 5, 4)));
    assert!(!term("a", 5, 9).contradicts(&term("b", 5, 4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_told_who_leads() {
    let mut election = Election::new(SHORT).await;
    let mut first = election.candidate("pod-1").await;
    first.comes_to(true).await;
    let mut second = election.candidate("pod-2").await;
    assert_eq!(second.comes_to_be_ready(true).await, "ok\n");
    assert_eq!(
        get(&first.url).await,
        (
            200,
            r#"{"name":"pod-1","self":"pod-1","leader":true}"#.to_owned()
        )
    );
    assert_eq!(
        get(&second.url).await,
        (
            200,
            r#"{"name":"pod-1","self":"pod-2","leader":false}"#.to_owned()
        )
    );
    assert_eq!(get(&format!("{}/leader", first.url)).await.0, 200);
    assert_eq!(get(&format!("{}/leader", second.url)).await.0, 503);
    assert_eq!(first.ready().await, (200, "ok\n".to_owned()));
    for (candidate, leads) in [(&first, 1.0), (&second, 0.0)] {
        for name in ["leader_elector_leader", "leader_elector_elected_total"] {
            assert!((candidate.helper.metric(name).await - leads).abs() < f64::EPSILON);
        }
    }
    // Only one of them has a Lease to give back.
    second.stop().await;
    first.stop().await;
    let gave = "gave the Lease back";
    first.helper.logged(gave).await;
    let log = second.helper.process.log();
    assert!(!log.iter().any(|line| line.contains(gave)), "{log:?}");
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_nobody_leads_and_the_probe_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = format!("https://127.0.0.1:{}", free_port());
    let nowhere = kubeconfig(directory.path(), &server, &json!({"token": "none"}));
    let mut election = Election::by("default".to_owned(), SHORT, nowhere);
    let candidate = election.candidate("pod-1").await;
    candidate.helper.logged("no answer about the Lease").await;
    assert_eq!(
        get(&candidate.url).await,
        (
            200,
            r#"{"name":"","self":"pod-1","leader":false}"#.to_owned()
        )
    );
    assert_eq!(get(&format!("{}/leader", candidate.url)).await.0, 503);
    let said = candidate.comes_to_be_ready(false).await;
    assert!(
        said.starts_with("the API server has not answered yet"),
        "{said}"
    );
    let health = candidate.helper.health().await;
    assert_eq!(
        get(&format!("{health}/livez")).await,
        (200, "ok\n".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn never_do_two_lead_whatever_is_killed_frozen_or_stopped() {
    let mut election = Election::new(SHORT).await;
    let names = ["pod-1", "pod-2", "pod-3"];
    let mut candidates = election.candidates(names).await;
    let end = Instant::now() + Duration::from_mins(1);
    for round in 0..2 {
        // SIGKILL.
        let place = election.settled(&candidates).await;
        candidates[place].helper.process.kill().await;
        candidates[place] = election.candidate(names[place]).await;

        // SIGSTOP for longer than its claim lasts: it wakes up in another's term.
        let place = election.settled(&candidates).await;
        candidates[place].helper.process.signal("STOP").await;
        assert_ne!(election.settled(&candidates).await, place);
        candidates[place].helper.process.signal("CONT").await;
        candidates[place].comes_to_be_ready(true).await;
        assert!(!candidates[place].leads().await, "it leads on");

        election.settled(&candidates).await;
        if round == 0 {
            // No API server: the leader's claim runs out, and nobody has another.
            let frozen = Frozen::now().await;
            sleep_until(frozen.since + RENEW + SLACK).await;
            let silent = frozen.since + Duration::from_secs(15);
            while Instant::now() < silent {
                for candidate in &candidates {
                    assert!(!candidate.leads().await, "it leads without a claim");
                }
                sleep(TICK).await;
            }
        } else {
            run(&mut cluster(&["restart", "kube-apiserver"]).into()).await;
        }

        // SIGTERM.
        let place = election.settled(&candidates).await;
        candidates[place].stop().await;
        candidates[place] = election.candidate(names[place]).await;
    }
    // Left alone, the leader stays.
    election.settled(&candidates).await;
    let terms = || election.record.lock().expect("no panic here").terms.len();
    let before = terms();
    assert!(Instant::now() < end, "a minute was too short");
    sleep_until(end).await;
    election.settled(&candidates).await;
    assert_eq!(terms(), before, "the leader has changed");
    election.never_had_two_leaders().await;
    let record = election.record.lock().expect("no panic here");
    eprintln!(
        "{before} terms, never two at once in {} answers",
        record.answers
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_hands_the_lease_over_at_once() {
    let mut election = Election::new(&[]).await;
    let mut candidates = election.candidates(["pod-1", "pod-2"]).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let place = election.settled(&candidates).await;
        candidates[1 - place].comes_to_be_ready(true).await;
        let signalled = Instant::now();
        candidates[place].helper.process.signal("TERM").await;
        candidates[1 - place].comes_to(true).await;
        took.push(signalled.elapsed());
        assert!(
            candidates[place].helper.process.ended().await.success(),
            "it fails"
        );
        candidates[place] = election.candidate(["pod-1", "pod-2"][place]).await;
    }
    took.sort();
    eprintln!("hand-over after SIGTERM: {took:.0?}");
    assert!(took[4] < Duration::from_secs(1), "{took:?}");
    election.never_had_two_leaders().await;
}

/// With the times that candidates have by default: 15 s and 2 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_when_its_lease_has_run_out() {
    let mut election = Election::new(&[]).await;
    let mut candidates = election.candidates(["pod-1", "pod-2"]).await;
    let place = election.settled(&candidates).await;
    candidates[1 - place].comes_to_be_ready(true).await;
    let killed = Instant::now();
    candidates[place].helper.process.kill().await;
    candidates[1 - place].comes_to(true).await;
    let took = killed.elapsed();
    eprintln!("hand-over after SIGKILL: {took:.1?}");
    assert!(took < Duration::from_secs(17), "{took:?}");
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_steps_down_before_others_may_lead() {
    let mut election = Election::new(SHORT).await;
    let candidates = election.candidates(["pod-1", "pod-2"]).await;
    let place = leader(&candidates).await;
    let (old, other) = (&candidates[place], &candidates[1 - place]);
    other.comes_to_be_ready(true).await;

    let frozen = Frozen::now().await;
    old.comes_to(false).await;
    let took = frozen.since.elapsed();
    eprintln!("without an API server it led for {took:.1?}");
    // Neither after its claim, nor at the first request that failed.
    assert!(
        took < RENEW + SLACK && took + RETRY + SLACK > RENEW,
        "{took:?}"
    );
    old.helper.logged("not leading any more").await;
    // Clients of old electors compare the name with their own.
    let me = old.who().await["self"].clone();
    assert_eq!(
        old.who().await,
        json!({"name": "", "self": me, "leader": false})
    );
    // Past the end of its lease, too: a claim has to be written.
    for candidate in [old, other] {
        let said = candidate.comes_to_be_ready(false).await;
        assert!(
            said.starts_with("the API server has not answered for "),
            "{said}"
        );
        assert!(!candidate.leads().await, "it leads without a claim");
    }
    drop(frozen);
    leader(&candidates).await;
    for candidate in &candidates {
        candidate.comes_to_be_ready(true).await;
    }
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_the_same_name_do_not_lead_together() {
    let mut election = Election::new(SHORT).await;
    let mut first = election.candidate("pod-1").await;
    first.comes_to(true).await;
    let second = election.candidate("pod-1").await;
    second.comes_to_be_ready(true).await;
    let end = Instant::now() + LEASE + RETRY;
    while Instant::now() < end {
        // The name alone has to tell, too.
        assert_eq!(
            second.who().await,
            json!({"name": "", "self": "pod-1", "leader": false})
        );
        assert!(first.leads().await, "it has lost its Lease");
        sleep(TICK).await;
    }
    first.stop().await;
    second.comes_to(true).await;
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_given_to_somebody_else_by_hand_is_theirs_until_it_runs_out() {
    let mut election = Election::new(SHORT).await;
    let candidate = election.candidate("pod-1").await;
    candidate.comes_to(true).await;
    let before = Instant::now();
    let patch = r#"{"spec":{"holderIdentity":"intruder_1"}}"#;
    election
        .kubectl(&["patch", "lease", "shop", "--type=merge", "--patch", patch])
        .await;
    let after = Instant::now();
    candidate.comes_to(false).await;
    let took = after.elapsed();
    eprintln!("a Lease that was taken away was missed within {took:.0?}");
    assert!(took < RETRY + SLACK, "{took:?}");
    assert_eq!(
        candidate.who().await,
        json!({"name": "intruder", "self": "pod-1", "leader": false})
    );
    candidate.comes_to(true).await;
    assert!(before.elapsed() > LEASE, "{:?}", before.elapsed());
    assert!(
        after.elapsed() < LEASE + RETRY + SLACK,
        "{:?}",
        after.elapsed()
    );
    election.never_had_two_leaders().await;
}

/// As when the lease duration is being changed, and a leader with the longer one dies.
#[tokio::test(flavor = "multi_thread")]
async fn to_wait_for_somebody_who_promised_more_time_is_no_failure() {
    let mut election = Election::new(SHORT).await;
    let candidate = election.candidate("pod-1").await;
    candidate.comes_to(true).await;
    let patch = r#"{"spec":{"holderIdentity":"intruder_1","leaseDurationSeconds":7}}"#;
    election
        .kubectl(&["patch", "lease", "shop", "--type=merge", "--patch", patch])
        .await;
    candidate.comes_to(false).await;
    until("the other's time to run out", async || {
        assert_eq!(candidate.ready().await, (200, "ok\n".to_owned()));
        candidate.leads().await.then_some(())
    })
    .await;
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_may_have_an_underscore() {
    let mut election = Election::new(SHORT).await;
    let first = election.candidate("my_pod").await;
    first.comes_to(true).await;
    let second = election.candidate("pod-2").await;
    second.comes_to_be_ready(true).await;
    assert_eq!(
        second.who().await,
        json!({"name": "my_pod", "self": "pod-2", "leader": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lease_is_written_again_by_the_one_who_leads() {
    let mut election = Election::new(&[]).await;
    let candidates = election.candidates(["pod-1", "pod-2", "pod-3"]).await;
    let place = leader(&candidates).await;
    for candidate in &candidates {
        candidate.comes_to_be_ready(true).await;
    }
    for _ in 0..3 {
        election.kubectl(&["delete", "lease", "shop"]).await;
        until("the Lease", async || {
            let found = election
                .kubectl(&[
                    "get",
                    "lease",
                    "shop",
                    "--ignore-not-found",
                    "--output=name",
                ])
                .await;
            (!found.is_empty()).then_some(())
        })
        .await;
        leader(&candidates).await;
    }
    // Long enough for a leader that nobody asked to find out.
    sleep(Duration::from_secs(3)).await;
    election.never_had_two_leaders().await;
    assert_eq!(leader(&candidates).await, place);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_watch_sees_hand_overs_a_retry_period_later() {
    let (mut election, _directory) = election_of_accounts(Some("get,create,update")).await;
    let mut candidates = election.candidates(["pod-1", "pod-2"]).await;
    let place = leader(&candidates).await;
    let warning = "the role lacks `watch` on the Lease: hand-overs are seen a retry period later";
    candidates[1 - place].helper.logged(warning).await;
    let signalled = Instant::now();
    candidates[place].stop().await;
    candidates[1 - place].comes_to(true).await;
    let took = signalled.elapsed();
    eprintln!("hand-over after SIGTERM without `watch`: {took:.0?}");
    assert!(took < RETRY + SLACK, "{took:?}");
    election.never_had_two_leaders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_a_role_is_not_ready_and_says_why() {
    let (mut election, _directory) = election_of_accounts(None).await;
    let candidate = election.candidate("pod-1").await;
    let line = candidate.helper.logged("no answer about the Lease").await;
    let why = format!(
        "leases.coordination.k8s.io \"shop\" is forbidden: User \"system:serviceaccount:{0}:elector\" cannot get resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"{0}\"",
        election.namespace
    );
    let error = line["error"].as_str().expect("an error");
    assert!(error.contains(&why), "{error}");
    let said = candidate.comes_to_be_ready(false).await;
    assert!(said.contains(&why), "{said}");
    assert!(!candidate.leads().await);
}

/// Exit code and standard error of a job that does not begin.
async fn refused(arguments: &[&str], kubeconfig: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger-helper"))
        .args(["leader-elector", "--lease=shop", "--identity=pod-1"])
        .args(["--listen=127.0.0.1:0", "--health-address=127.0.0.1:0"])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(super::support::PATIENCE, output).await;
    let output = output.expect("it ends").expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_refused_with_a_sentence() {
    let kubeconfig = setting("KUBECONFIG");
    let order = |retry, renew, lease| {
        format!(
            "error: `--retry-period` ({retry}) must be shorter than `--renew-deadline` ({renew}), and that shorter than `--lease-duration` ({lease}): otherwise two candidates could lead at once\n"
        )
    };
    for (arguments, sentence) in [
        (&["--renew-deadline=20s"][..], order("2s", "20s", "15s")),
        (&["--renew-deadline=15s"], order("2s", "15s", "15s")),
        (&["--retry-period=10s"], order("10s", "10s", "15s")),
        (&["--lease-duration=5s"], order("2s", "10s", "5s")),
        (
            &[
                "--lease-duration=1500ms",
                "--renew-deadline=1s",
                "--retry-period=500ms",
            ],
            "error: `--lease-duration` is 1.5s: a Lease has whole seconds\n".to_owned(),
        ),
    ] {
        assert_eq!(refused(arguments, &kubeconfig).await, (Some(1), sentence));
    }
    assert_eq!(
        refused(&["--retry-period=0s"], &kubeconfig).await,
        (
            Some(2),
            "error: invalid value '0s' for '--retry-period <DURATION>': expected a duration above zero such as 500ms, 2s or 1h30m, not `0s`\n\nFor more information, try '--help'.\n".to_owned()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_account_it_does_not_begin() {
    let (code, said) = refused(&[], "/nowhere/kubeconfig").await;
    assert_eq!(code, Some(1));
    let sentence = "error: no Kubernetes API server is known: neither a service account's token nor a kubeconfig is here: ";
    assert!(said.starts_with(sentence), "{said}");
    assert!(said.contains("/nowhere/kubeconfig"), "{said}");
}
