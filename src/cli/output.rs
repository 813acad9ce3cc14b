//! Who prints: data to stdout, talk to stderr, colours only where a terminal reads them and `NO_COLOR` does not forbid.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::manifest::Complaint;

/// How a verb ended, when it ended at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// 0
    Done,
    /// 1: what the user gave is wrong.
    WrongInput,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::WrongInput => Self::from(1),
        }
    }
}

/// The two streams. anstream takes the colours out where they do not belong.
pub(super) struct Printer {
    out: anstream::AutoStream<io::Stdout>,
    talk: anstream::AutoStream<io::Stderr>,
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

impl Printer {
    pub(super) fn new() -> Self {
        Self {
            out: anstream::stdout(),
            talk: anstream::stderr(),
        }
    }

    /// Data.
    pub(super) fn data(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Talk. Nobody can be told that stderr is gone.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{text}");
    }

    pub(super) fn warning(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{YELLOW}warning{PLAIN}: {text}");
    }

    pub(super) fn error(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{RED}error{PLAIN}: {text}");
    }

    /// What is wrong with the input, and how that ends.
    pub(super) fn complaints(&mut self, complaints: &[Complaint]) -> Ending {
        complaints
            .iter()
            .for_each(|complaint| self.error(&complaint.to_string()));
        Ending::WrongInput
    }
}

/// `text` in bold, where colours are shown.
pub(super) fn bold(text: &str) -> String {
    format!("{BOLD}{text}{PLAIN}")
}

/// True if the reader of our output went away, which is no error of ours.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Rows under a header, columns as wide as their widest cell; a row's last cell is not padded, and widens no column.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter(|row| column + 1 < row.len())
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.push_str(&" ".repeat(widths[column] - cell.chars().count() + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
