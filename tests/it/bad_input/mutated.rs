//! Whatever comes in, nothing panics: every fixture, broken in many small ways, through all that reads what users write.

use std::path::{Path, PathBuf};

use outrigger::binding::Binding;
use outrigger::catalog::Place;
use outrigger::inject::uninject;
use outrigger::manifest;
use outrigger::pattern::{Pattern, advice};
use serde_json::Value;

use crate::support::{World, apply, root};

const ROUNDS: usize = 600;

/// Words that mean something to some reader along the way.
const HOSTILE: &[&str] = &[
    "\0",
    "\u{feff}",
    "\u{2028}",
    "{{ ",
    "{% for x in params %}",
    "&a [*a]",
    "*a",
    "---\n",
    "!!binary x",
    "<<: ",
    ": ",
    "\t",
    "null",
    "-1",
    "99999999999999999999",
    "1e400",
    ".nan",
    "{}",
    "[]",
    "\"",
    "/~1",
    "$(HOME)",
    "🦊",
];

/// xorshift64*: the same every time, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).expect("64 bits");
        usize::try_from(self.next() % limit).expect("64 bits")
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
    found.sort();
}

/// One to four small changes: a byte, a cut, a line lost or doubled, a hostile word.
fn mutate(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = u8::try_from(random.below(256)).expect("a byte"),
            2 => {
                bytes.remove(at);
            }
            3 => {
                let word = HOSTILE[random.below(HOSTILE.len())];
                bytes.splice(at..at, word.bytes());
            }
            choice => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let line = random.below(lines.len());
                if choice == 4 {
                    lines.remove(line);
                } else {
                    lines.insert(line, lines[line]);
                }
                bytes = lines.concat().into_bytes();
            }
        }
        if bytes.is_empty() {
            bytes.push(b'a');
        }
    }
    bytes
}

/// Everything that the command line does to a document, without the process around it.
fn digest(document: &Value, world: &World) {
    match document["kind"].as_str() {
        Some("Pattern") => {
            if let Ok(pattern) = Pattern::load(document, Place::Namespace("shop".to_owned())) {
                let _ = advice(&pattern.spec);
            }
        }
        Some("PatternBinding") => {
            let _ = Binding::load(document, "shop", "outrigger-system");
        }
        _ => {}
    }
    for template in manifest::templates(document) {
        let Some(pod) = manifest::get(document, &template.path()) else {
            continue;
        };
        let mut after = pod.clone();
        if let Ok(outcome) = world.inject(pod, "shop") {
            apply(&outcome, &mut after);
        }
        let _ = uninject(&mut after);
    }
}

#[test]
fn nothing_panics() {
    let mut found = Vec::new();
    files(&root().join("tests/fixtures"), &mut found);
    files(&root().join("examples"), &mut found);
    files(&root().join("patterns"), &mut found);
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random(0x0075_7472_6967_6765);
    for round in 0..ROUNDS {
        let file = &found[random.below(found.len())];
        let text = std::fs::read_to_string(file).expect("a fixture");
        let bytes = mutate(&text, &mut random);
        let broken = directory.path().join("broken.yaml");
        std::fs::write(&broken, &bytes).expect("it is written");
        let world = World::of(&file.with_file_name("context.yaml"));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let Ok(Ok(documents)) = manifest::read(std::slice::from_ref(&broken)) else {
                return;
            };
            for document in &documents {
                digest(&document.value, &world);
            }
        }));
        assert!(
            result.is_ok(),
            "round {round}: {} became\n{}",
            file.display(),
            String::from_utf8_lossy(&bytes)
        );
    }
}
