//! The webhook under load, beside the *floor*: the least that a webhook can do on the same TLS and HTTP stack.
//!
//! ```text
//!   core 1                                      core 0
//!   this process ──TLS 1.3, keep-alive──┬─▶ outrigger serve
//!     checks every answer               └─▶ this executable as the floor
//! ```
//!
//! What counts are the ratios within one run: machines differ, and shared ones differ from minute to minute, but the floor sees the
//! same minutes as we do. `--floor-twice` puts the floor in our place, and so tells how far from 1 a ratio comes by chance.
//!
//! Progress goes to stderr, the tables to stdout, in Markdown. One wrong answer ends the run with exit 1.

// Progress and tables are what it is for; what is expected is said where it is expected.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

mod client;
mod drive;
mod floor;
mod measure;
#[path = "../pods.rs"]
mod pods;
mod review;
mod server;
mod table;

use measure::Plan;
use review::Review;
use server::{Kind, Pair};

/// Measures the webhook beside the least that a webhook can do.
#[derive(Debug, Parser)]
struct Arguments {
    /// Do a twentieth of everything, for trying
    #[arg(long)]
    quick: bool,
    /// Put the floor in the webhook's place, too
    #[arg(long)]
    floor_twice: bool,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(hide = true)]
    role: Option<Role>,
    /// The floor's answer, if not its own
    #[arg(long, hide = true)]
    patch: Option<String>,
}

/// What a process of this executable is, if not the one that measures.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Floor,
}

/// What a Pod asks for.
#[derive(Clone, Copy)]
struct Wish {
    pattern: &'static str,
    annotation: (&'static str, &'static str),
}

/// Makes a patch of about the size of the floor's, so what is left is the work.
const SMALL: Wish = Wish {
    pattern: "redis-metrics",
    annotation: ("adapter.outrigger.dev/redis-metrics", ""),
};
/// Renders a config file of 5 KiB, which travels in the patch.
const LARGE: Wish = Wish {
    pattern: "https",
    annotation: ("sidecar.outrigger.dev/https", "{secretName: shop-tls}"),
};
/// What is asked for, by a Pod of how many KiB.
const CASES: [(Wish, usize); 6] = [
    (SMALL, 4),
    (SMALL, 16),
    (SMALL, 64),
    (SMALL, 256),
    (LARGE, 4),
    (LARGE, 16),
];
/// What is measured with one Pod only is measured with this one.
const USUAL: (Wish, usize) = (SMALL, 16);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.role {
        Some(Role::Floor) => floor::serve(arguments.patch),
        None => run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    server::pin_client()?;
    let kinds = Pair {
        floor: Kind::Floor,
        ours: if arguments.floor_twice {
            Kind::Floor
        } else {
            Kind::Outrigger
        },
    };
    let plan = Plan {
        divisor: if arguments.quick { 20 } else { 1 },
    };

    let mut cpu = Vec::new();
    for (wish, kibibytes) in CASES {
        eprintln!("CPU: {}, {kibibytes} KiB", wish.pattern);
        let row = measure::cpu(plan, kinds, &review(wish, kibibytes))?;
        cpu.push((format!("{kibibytes} KiB, {}", wish.pattern), row));
    }
    let usual = review(USUAL.0, USUAL.1);
    eprintln!("latency");
    let latency = measure::latency(plan, kinds, &usual)?;
    eprintln!("memory");
    let memory = measure::memory(plan, kinds, &usual)?;
    eprintln!("first answer");
    let first = measure::first_answer(kinds, &usual)?;

    let [wish, size] = [USUAL.0.pattern.to_owned(), format!("{} KiB", USUAL.1)];
    table::cpu(&cpu);
    println!("\nA Pod of {size} that asks for `{wish}`:\n");
    table::usual(plan, &latency, &memory, &first);
    Ok(())
}

fn review(wish: Wish, kibibytes: usize) -> Review {
    let (key, value) = wish.annotation;
    let annotations = [(key.to_owned(), value.to_owned())];
    Review::new(&pods::pod(kibibytes * 1024, &annotations))
}
