//! The four measurements. Each runs the floor and us in turn, several times over, so that a slow minute of the machine hits both.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::client::Refused;
use crate::drive::Load;
use crate::review::Review;
use crate::server::{Kind, Pair, Server};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// How much of everything is done.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) divisor: u32,
}

impl Plan {
    const CPU_ROUNDS: usize = 7;
    const LATENCY_ROUNDS: usize = 3;
    const FIRST_ROUNDS: usize = 5;

    /// CPU time that a sample takes: long enough that a timer tick more or less does not show.
    fn sample(self) -> Duration {
        Duration::from_millis(600) / self.divisor
    }

    fn open_loop(self) -> Duration {
        Duration::from_secs(5) / self.divisor
    }

    /// Reviews that tell how fast a server answers.
    fn rate_reviews(self) -> u32 {
        20_000 / self.divisor
    }

    /// Reviews after which memory is looked at; then the same again.
    pub(crate) fn memory_reviews(self) -> u32 {
        50_000 / self.divisor
    }

    /// Reviews that warm a server up, and that tell how many make a sample.
    fn warm_up(self) -> u32 {
        2000 / self.divisor
    }
}

/// What one server did in one round.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) per_review: Duration,
    /// The part of the time that the server was on its core: at much less than 1 it waited for the client.
    pub(crate) busy: f64,
}

#[derive(Clone, Copy)]
pub(crate) struct Latency {
    /// Reviews a second, as fast as the server answers.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Resident KiB after [`Plan::memory_reviews`] reviews, and after twice as many.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) once: u32,
    pub(crate) twice: u32,
}

/// A server that is under load.
struct Loaded {
    kind: Kind,
    server: Server,
    load: Load,
}

impl Loaded {
    fn start(kind: Kind, review: &Review) -> anyhow::Result<Self> {
        let server = answering(kind, review)?;
        let load = Load::new(&server.target, review)?;
        Ok(Self { kind, server, load })
    }

    fn closed(&mut self, count: u32) -> anyhow::Result<Duration> {
        let elapsed = self.load.closed(count);
        elapsed.with_context(|| self.kind.to_string())
    }

    fn cpu(&mut self, count: u32) -> anyhow::Result<Cpu> {
        let before = self.server.clock()?;
        let elapsed = self.closed(count)?;
        let spent = self.server.clock()?.since(&before);
        Ok(Cpu {
            per_review: spent / count,
            busy: spent.div_duration_f64(elapsed),
        })
    }

    /// Half of the rate at which the server answers as fast as it can.
    fn half_load(&mut self, plan: Plan) -> anyhow::Result<Latency> {
        let count = plan.rate_reviews();
        let elapsed = self.closed(count)?;
        let interval = elapsed * 2 / count;
        let due = times(plan.open_loop(), interval);
        let latencies = self.load.open(due, interval);
        let latencies = latencies.with_context(|| self.kind.to_string())?;
        Ok(Latency {
            rate: f64::from(count) / elapsed.as_secs_f64(),
            p50: latencies[latencies.len() / 2],
            p99: latencies[latencies.len() * 99 / 100],
        })
    }
}

/// CPU time for each review: a pair for each round.
pub(crate) fn cpu(
    plan: Plan,
    kinds: Pair<Kind>,
    review: &Review,
) -> anyhow::Result<Vec<Pair<Cpu>>> {
    let mut servers = kinds.try_map(|kind| {
        let mut loaded = Loaded::start(kind, review)?;
        loaded.cpu(plan.warm_up())?;
        let count = times(plan.sample(), loaded.cpu(plan.warm_up())?.per_review);
        Ok((loaded, count))
    })?;
    let rounds = (0..Plan::CPU_ROUNDS).map(|_| {
        let round = servers.as_mut();
        round.try_map(|(loaded, count)| loaded.cpu(*count))
    });
    rounds.collect()
}

/// Latency at half load: a pair for each round.
pub(crate) fn latency(
    plan: Plan,
    kinds: Pair<Kind>,
    review: &Review,
) -> anyhow::Result<Vec<Pair<Latency>>> {
    let mut servers = kinds.try_map(|kind| {
        let mut loaded = Loaded::start(kind, review)?;
        loaded.closed(plan.warm_up())?;
        Ok(loaded)
    })?;
    let rounds = (0..Plan::LATENCY_ROUNDS).map(|_| {
        let round = servers.as_mut();
        round.try_map(|loaded| loaded.half_load(plan))
    });
    rounds.collect()
}

/// Memory of new processes.
pub(crate) fn memory(
    plan: Plan,
    kinds: Pair<Kind>,
    review: &Review,
) -> anyhow::Result<Pair<Memory>> {
    kinds.try_map(|kind| {
        let mut loaded = Loaded::start(kind, review)?;
        loaded.closed(plan.memory_reviews())?;
        let once = loaded.server.resident()?;
        loaded.closed(plan.memory_reviews())?;
        let twice = loaded.server.resident()?;
        Ok(Memory { once, twice })
    })
}

/// The time from starting a process until it has answered a review: a pair for each round. The start of `taskset` and the TLS
/// handshake are in it, of both.
pub(crate) fn first_answer(
    kinds: Pair<Kind>,
    review: &Review,
) -> anyhow::Result<Vec<Pair<Duration>>> {
    let rounds = (0..Plan::FIRST_ROUNDS).map(|_| {
        kinds.try_map(|kind| {
            let begin = Instant::now();
            let _server = answering(kind, review)?;
            Ok(begin.elapsed())
        })
    });
    rounds.collect()
}

/// Starts a server and asks until it answers: it may say where it listens before it takes reviews. A wrong answer is not excused.
fn answering(kind: Kind, review: &Review) -> anyhow::Result<Server> {
    let server = Server::start(kind)?;
    let begin = Instant::now();
    loop {
        let answer = server
            .target
            .connect(review)
            .and_then(|mut connection| connection.exchange());
        match answer {
            Ok(()) => return Ok(server),
            Err(error) if error.is::<Refused>() && begin.elapsed() < START => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.context(kind.to_string())),
        }
    }
}

/// How often `part` goes into `whole`, at least once.
fn times(whole: Duration, part: Duration) -> u32 {
    let times = whole.as_nanos() / part.as_nanos().max(1);
    u32::try_from(times).unwrap_or(u32::MAX).max(1)
}
